import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { addon, addonFailure } from '../src/addon.ts'
import { SharedMemoryError, type SharedMemoryErrorCode } from '../src/errors.ts'

/** The built library: child processes and worker threads cannot run TypeScript on Node 20. */
export const BUILT_LIBRARY: string = new URL('../dist/index.js', import.meta.url).href

/** A suite that needs the addon. Where there is none, one skipped test says why, and nothing is set up. */
export function describeWithAddon(name: string, suite: () => void): void {
  if (addon !== null) describe(name, suite)
  else describe.skip(name, () => test(`needs the native addon: ${addonFailure}`, () => {}))
}

/** A folder on disk that goes with the test that asked for it, or with the file where none runs. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'onecopy-memory-'))
  const remove = (): void => rmSync(folder, { recursive: true, force: true })
  if (expect.getState().currentTestName === undefined) afterAll(remove)
  else onTestFinished(remove)
  return folder
}

/** Bytes in which every place can be told from its neighbours. */
export function patternBytes(byteLength: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length: byteLength }, (_, at) => (at * 31 + (at >> 8) * 7 + seed) & 255)
}

export function writePattern(folder: string, name: string, byteLength: number, seed = 0): string {
  const path = join(folder, name)
  writeFileSync(path, patternBytes(byteLength, seed))
  return path
}

/** How many lines of the process's memory map name the file, whether it still has its name or not. */
export function mapsOf(path: string, pid: number | 'self' = 'self'): number {
  const lines = readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')
  return lines.filter((line) => line.endsWith(` ${path}`) || line.endsWith(` ${path} (deleted)`)).length
}

/** How many descriptors of this process are open on the file. */
export function descriptorsOf(path: string): number {
  const targets = readdirSync('/proc/self/fd').map((descriptor) => {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`)
    } catch {
      return '' // the descriptor of this very listing
    }
  })
  return targets.filter((target) => target === path || target === `${path} (deleted)`).length
}

/** The SharedMemoryError that the call must end with. */
export async function failure(call: () => unknown, code: SharedMemoryErrorCode): Promise<SharedMemoryError> {
  const error = await (async () => call())().then(
    () => null,
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(SharedMemoryError)
  expect((error as SharedMemoryError).code).toBe(code)
  return error as SharedMemoryError
}

export interface ScriptOptions {
  /** What `workerData` or `input` is inside. */
  readonly input?: unknown
  readonly env?: Readonly<Record<string, string>>
  /** A command that starts the one behind it, such as `['prlimit', '--nofile=40']`. */
  readonly wrap?: readonly string[]
  /** The built library that the script gets as `memory`; null for none. */
  readonly library?: string | null
}

export interface ScriptResult {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** Whether this process may become another user. */
export const CAN_BECOME_NOBODY: boolean = process.geteuid?.() === 0

/**
 * Code that makes the process another user's from there on. Such a user may be unable to load the library, where a folder above
 * it is closed to others; so it is loaded by then, and no test needs more than its files.
 */
export const BECOME_NOBODY = `process.setgroups([4, 24]); process.setgid(65534); process.setuid(65534);`

const PREAMBLE = `
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
const input = JSON.parse(process.argv[2])
const answer = (value) => console.log(JSON.stringify(value))
const turn = () => new Promise((resolve) => setTimeout(resolve, 2))
const collectUntil = async (done) => { for (let i = 0; i < 500 && !done(); i++) { gc(); await turn() } }
const mapsOf = (path) => readFileSync('/proc/self/maps', 'utf8').split('\\n')
  .filter((line) => line.endsWith(' ' + path) || line.endsWith(' ' + path + ' (deleted)')).length
const linkOf = (descriptor) => { try { return readlinkSync('/proc/self/fd/' + descriptor) } catch { return '' } }
// Without those by which the addon makes room for more as it is loaded.
const descriptorCount = () => readdirSync('/proc/self/fd').map(linkOf).filter((link) => link !== '' && link !== '/dev/null').length
const descriptorsOf = (path) => readdirSync('/proc/self/fd').map(linkOf)
  .filter((link) => link === path || link === path + ' (deleted)').length
const inWorker = (code, workerData, options) => new Worker(
  'const { workerData, parentPort } = require("node:worker_threads");' +
  'import(' + JSON.stringify(${JSON.stringify(BUILT_LIBRARY)}) + ').then(async (memory) => {' + code + '})',
  { eval: true, workerData, ...options })
const ended = (worker) => new Promise((resolve) => worker.once('exit', resolve))
const message = (worker) => new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
`

/** Runs an ES module in a process of its own, which may die as it likes. */
export function runScript(script: string, options: ScriptOptions = {}): ScriptResult {
  const folder = mkdtempSync(join(tmpdir(), 'onecopy-script-'))
  try {
    const library = options.library === undefined ? BUILT_LIBRARY : options.library
    const imports = library === null ? '' : `import * as memory from ${JSON.stringify(library)}\n`
    const file = join(folder, 'script.mjs')
    chmodSync(folder, 0o755) // some scripts run as another user
    writeFileSync(file, `${imports}${PREAMBLE}${script}`)
    const args = [process.execPath, '--expose-gc', file, JSON.stringify(options.input ?? null)]
    const [command, ...rest] = [...(options.wrap ?? []), ...args]
    const { status, signal, stdout, stderr } = spawnSync(command!, rest, {
      encoding: 'utf8',
      env: { ...process.env, ...options.env },
      timeout: 100_000, // a script that hangs is a failure and not a wait
      killSignal: 'SIGKILL',
    })
    return { status, signal, stdout, stderr }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** What the script passes to `answer()`; the process must end well. */
export function ask(script: string, options: ScriptOptions = {}): unknown {
  const { status, signal, stdout, stderr } = runScript(script, options)
  expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' })
  return JSON.parse(stdout)
}

/** A thread of this process with the built library as `memory`; the code may await and post. */
export function startThread(code: string, workerData: unknown = null): Worker {
  const source = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(${JSON.stringify(BUILT_LIBRARY)}).then(async (memory) => { ${code} })`
  return new Worker(source, { eval: true, workerData })
}

/** Whether the command runs here and ends well. */
export function hasCommand(command: string, ...args: string[]): boolean {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0
}
