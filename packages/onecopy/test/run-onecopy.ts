import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

export const MAIN: string = fileURLToPath(new URL('../dist/main.js', import.meta.url))

export interface Outcome {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Running {
  readonly child: ChildProcess
  readonly outcome: Promise<Outcome>
  /** Resolves with the match as soon as what came on stdout so far has one; rejects when the process ends without. */
  readonly says: (pattern: RegExp) => Promise<RegExpExecArray>
  /** The same for stderr. */
  readonly logs: (pattern: RegExp) => Promise<RegExpExecArray>
}

/** Waiting for what a process says is given up after this long, in milliseconds. */
const PATIENCE_MS = 60_000

/** Starts the built command as a shell would: no terminal, no colours. It is killed when the test ends. */
export function startOnecopy(args: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
  const child = spawn(process.execPath, [MAIN, ...args], { env: { ...process.env, NO_COLOR: '1', ...env } })
  onTestFinished(() => void child.kill('SIGKILL'))
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text
  })
  const outcome = new Promise<Outcome>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }))
  })
  const matching = async (text: () => string, pattern: RegExp): Promise<RegExpExecArray> => {
    for (const begin = performance.now(); ; ) {
      const ended = child.exitCode !== null || child.signalCode !== null
      if (ended) await outcome
      const match = pattern.exec(text())
      if (match !== null) return match
      const waited = performance.now() - begin
      if (ended || waited > PATIENCE_MS) {
        const why = ended ? 'It ended' : `It went on for ${PATIENCE_MS} ms`
        throw new TypeError(`${why} without ${pattern}; stdout: ${stdout}; stderr: ${stderr}`)
      }
      await setTimeout(10)
    }
  }
  const says = (pattern: RegExp) => matching(() => stdout, pattern)
  const logs = (pattern: RegExp) => matching(() => stderr, pattern)
  return { child, outcome, says, logs }
}

/** `onecopy serve`, as soon as it has published everything. */
export async function startServe(socket: string, ...args: readonly string[]): Promise<Running> {
  const running = startOnecopy(['serve', '--socket', socket, ...args])
  await running.says(/^listening /m)
  return running
}

export function onecopy(...args: readonly string[]): Promise<Outcome> {
  return startOnecopy(args).outcome
}

/** An empty folder that is removed when the test ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'onecopy-test-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
