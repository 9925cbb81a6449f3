import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { type Dtype, dtypeBits } from '@onecopy/safetensors'
import { expect, onTestFinished } from 'vitest'
import { collectGarbage } from '../../../test/until.ts'
import type { CheckpointShare } from '../src/index.ts'

export { HAS_ADDON } from '../../../test/has-addon.ts'
export type { Refusal } from '../../../test/refusal.ts'
export { refusal } from '../../../test/refusal.ts'
export { temporaryFolder } from '../../../test/temporary-folder.ts'
export { collectGarbage } from '../../../test/until.ts'

export interface RawTensor {
  readonly name: string
  readonly dtype: Dtype
  readonly shape: readonly number[]
  readonly bytes: Uint8Array
}

/** Bytes that look random and are the same in every run. */
export function noise(byteLength: number, seed = 1): Uint8Array {
  let state = seed
  return Uint8Array.from({ length: byteLength }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state >>> 24
  })
}

/** A tensor of noise; every name has its own. */
export function tensor(name: string, dtype: Dtype = 'F32', shape: readonly number[] = [2, 3]): RawTensor {
  const elements = shape.reduce((product, size) => product * size, 1)
  const seed = [...name].reduce((sum, character) => Math.imul(sum, 31) + character.codePointAt(0)!, elements + 7)
  return { name, dtype, shape, bytes: noise((elements * dtypeBits(dtype)) / 8, seed) }
}

export function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

/** A file from its parts: the length (which may lie), the JSON, the data. */
export function rawFile(json: string | Uint8Array, data: Uint8Array = new Uint8Array(), length?: number | bigint) {
  const header = typeof json === 'string' ? utf8(json) : json
  const file = new Uint8Array(8 + header.byteLength + data.byteLength)
  new DataView(file.buffer).setBigUint64(0, BigInt(length ?? header.byteLength), true)
  file.set(header, 8)
  file.set(data, 8 + header.byteLength)
  return file
}

/** The header's JSON for tensors that follow each other in the given order, unpadded. */
export function headerJson(tensors: readonly RawTensor[], metadata?: Readonly<Record<string, string>>): string {
  let cursor = 0
  const members = tensors.map(({ name, dtype, shape, bytes }) => {
    const begin = cursor
    cursor += bytes.byteLength
    return `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, cursor] })}`
  })
  if (metadata !== undefined) members.unshift(`"__metadata__":${JSON.stringify(metadata)}`)
  return `{${members.join(',')}}`
}

/** A file of tensors, byte by byte and not through our own serializer. `padding` shifts the data. */
export function fileOf(
  tensors: readonly RawTensor[],
  options: { readonly metadata?: Readonly<Record<string, string>>; readonly padding?: number } = {},
): Uint8Array {
  const json = headerJson(tensors, options.metadata) + ' '.repeat(options.padding ?? 0)
  return rawFile(json, Buffer.concat(tensors.map(({ bytes }) => bytes)))
}

export function write(folder: string, name: string, bytes: string | Uint8Array): string {
  const path = join(folder, name)
  writeFileSync(path, bytes)
  return path
}

export function writeIndex(
  folder: string,
  weightMap: Readonly<Record<string, string>>,
  name = 'model.safetensors.index.json',
) {
  return write(folder, name, JSON.stringify({ metadata: { total_size: 0 }, weight_map: weightMap }))
}

/** Shards with the usual names and their index. */
export function writeSharded(folder: string, shards: readonly (readonly RawTensor[])[]): string[] {
  const names = shards.map((_, at) => `model-${five(at + 1)}-of-${five(shards.length)}.safetensors`)
  const entries = shards.flatMap((tensors, at) => tensors.map(({ name }) => [name, names[at]!]))
  writeIndex(folder, Object.fromEntries(entries))
  return shards.map((tensors, at) => write(folder, names[at]!, fileOf(tensors)))
}

function five(value: number): string {
  return String(value).padStart(5, '0')
}

export function bytesOf(buffer: SharedArrayBuffer): Uint8Array {
  return new Uint8Array(buffer).slice()
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Descriptors of this process that are files below `folder`; an open mapping has one too. */
export function descriptorsIn(folder: string): string[] {
  return readdirSync('/proc/self/fd').flatMap((descriptor) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${descriptor}`)
      return target.startsWith(`${folder}/`) ? [target] : []
    } catch {
      return [] // the descriptor of this very listing
    }
  })
}

/** Lines of /proc/self/maps that show files below `folder`. */
export function mappingsIn(folder: string): string[] {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.includes(`${folder}/`))
}

export function expectNothingOpen(folder: string): void {
  expect(descriptorsIn(folder)).toEqual([])
  expect(mappingsIn(folder)).toEqual([])
}

/** After the collections that buffers over closed mappings wait for. */
export async function expectNothingLeft(folder: string): Promise<void> {
  const count = (): number => descriptorsIn(folder).length + mappingsIn(folder).length
  for (let turn = 0; turn < 200 && count() > 0; turn++) {
    collectGarbage()
    await new Promise(setImmediate)
  }
  expectNothingOpen(folder)
}

const CHILDREN = new URL('./children/', import.meta.url)

/** A thread of the built package that has adopted a checkpoint and does the tasks of children/adopting-worker.mjs. */
export interface AdoptingWorker {
  ask(task: string, ...args: readonly unknown[]): Promise<unknown>
}

export function adoptingWorker(share: CheckpointShare): AdoptingWorker {
  const worker = new Worker(new URL('adopting-worker.mjs', CHILDREN), { workerData: share })
  const waiting = new Map<number, (answer: { result?: unknown; error?: object }) => void>()
  let next = 0
  worker.on('message', ({ id, ...answer }) => waiting.get(id)?.(answer))
  worker.on('error', (error) => {
    for (const settle of waiting.values()) settle({ error })
  })
  onTestFinished(async () => {
    await worker.terminate()
  })
  return {
    ask: (task, ...args) =>
      new Promise((resolve, reject) => {
        const id = next++
        waiting.set(id, ({ result, error }) => (error === undefined ? resolve(result) : reject(error)))
        worker.postMessage({ id, task, args })
      }),
  }
}

export interface ChildResult {
  readonly code: number | null
  readonly signal: string | null
  readonly output: string
  readonly errors: string
}

export interface RunningChild {
  readonly ended: Promise<ChildResult>
  /** Resolves when the child has written this to its output. */
  said(text: string): Promise<void>
  write(text: string): void
  kill(): void
}

export interface ChildOptions {
  readonly env?: Readonly<Record<string, string>>
  /** Words in front of the command, such as a shell that sets limits and runs "$@". */
  readonly prefix?: readonly string[]
}

/** Starts a script of children/ with the running node. */
export function startChild(script: string, args: readonly string[], options: ChildOptions = {}): RunningChild {
  const [command, ...rest] = [
    ...(options.prefix ?? []),
    process.execPath,
    fileURLToPath(new URL(script, CHILDREN)),
    ...args,
  ]
  const child = spawn(command!, rest, { env: { ...process.env, NODE_OPTIONS: '', ...options.env } })
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text
  })
  child.stdin.on('error', () => {}) // the child may end before it has read everything
  const ended = new Promise<ChildResult>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, output, errors }))
  })
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  const said = (text: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (output.includes(text)) resolve()
      }
      child.stdout.on('data', look)
      child.on('close', () => reject(new TypeError(`The child ended without saying "${text}": ${errors}`)))
      look()
    })
  return { ended, said, write: (text) => child.stdin.write(text), kill: () => child.kill('SIGKILL') }
}

/** Runs a script of children/ to its end and reads its output, one JSON value. */
export async function runChild(script: string, args: readonly string[], options: ChildOptions = {}) {
  const result = await startChild(script, args, options).ended
  expect(result, result.errors).toMatchObject({ code: 0, signal: null })
  return { ...result, value: JSON.parse(result.output) as unknown }
}
