import { type ChildProcess, fork, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Checkpoint, openCheckpoint, type Selection, saveCheckpoint } from '@onecopy/checkpoint'
import {
  type ClientMessage,
  type CoordinatorConnection,
  type CoordinatorStatus,
  coordinatorConnection,
  type Granted,
} from '@onecopy/protocol'
import {
  type Descriptor,
  type FileMapping,
  listenUnix,
  sealBytes,
  sealFile,
  UnixListener,
} from '@onecopy/sharedarraybuffer-utils'
import { onTestFinished } from 'vitest'
import { temporaryFolder } from '../../../test/temporary-folder.ts'
import { until } from '../../../test/until.ts'

export type { Refusal } from '../../../test/refusal.ts'
export { refusal } from '../../../test/refusal.ts'
export { temporaryFolder } from '../../../test/temporary-folder.ts'
export { collectUntil, until } from '../../../test/until.ts'

export function temporarySocket(): string {
  return join(temporaryFolder(), 's', 'socket')
}

/** Saves a checkpoint of two U8 tensors `t0` and `t1` in two shards; each is filled with a byte of its own. */
export async function saveModel(folder: string, fill = 1, tensorBytes = 4096): Promise<string> {
  const tensors = [0, 1].map((at) => ({
    name: `t${at}`,
    dtype: 'U8' as const,
    shape: [tensorBytes],
    data: new Uint8Array(tensorBytes).fill(fill + at),
  }))
  rmSync(folder, { recursive: true, force: true })
  await saveCheckpoint(folder, tensors, { maxShardBytes: tensorBytes })
  return folder
}

/** sha256 of both tensors of `saveModel`. */
export function modelHash(fill = 1, tensorBytes = 4096): string {
  const hash = createHash('sha256')
  for (const at of [0, 1]) hash.update(new Uint8Array(tensorBytes).fill(fill + at))
  return hash.digest('hex')
}

/**
 * Saves a small language model's matrices: `o` and `down` are shared out by columns and `gate_up`, two matrices in one, by two
 * runs of rows, which takes arenas; `embed` and `q` by rows, which does not; `norm` goes to everybody.
 * @param fill another number makes other values of the same layout
 */
export async function saveMatrices(folder: string, { fill = 1, width = 64 } = {}): Promise<string> {
  const shapes = { embed: [2 * width, width], norm: [width], q: [width, width], o: [width, width] }
  const mlp = { gate_up: [2 * width, width], down: [width, width] }
  const tensors = Object.entries({ ...shapes, ...mlp }).map(([name, shape], at) => {
    const elements = shape.reduce((product, size) => product * size, 1)
    const data = Float32Array.from({ length: elements }, (_, index) => fill * 1000 + at + (index % 8191) / 8192)
    return { name, dtype: 'F32' as const, shape, data }
  })
  rmSync(folder, { recursive: true, force: true })
  await saveCheckpoint(folder, tensors, { maxShardBytes: 4 * 4 * width * width })
  return folder
}

/** What one of four workers reads of `saveMatrices`. */
export function quarter(rank: number, width = 64): Selection {
  const part = (size: number, from = 0): readonly [number, number] => {
    return [from + (size / 4) * rank, from + (size / 4) * (rank + 1)]
  }
  return {
    tensors: [
      { name: 'embed', ranges: [part(2 * width)] },
      { name: 'norm' },
      { name: 'q', ranges: [part(width)] },
      { name: 'o', ranges: [[0, width], part(width)] },
      { name: 'gate_up', ranges: [[part(width), part(width, width)]] },
      { name: 'down', ranges: [[0, width], part(width)] },
    ],
  }
}

/** sha256 of each tensor, by name. */
export function hashesOf(checkpoint: Checkpoint): Record<string, string> {
  const hash = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex')
  return Object.fromEntries(
    [...checkpoint.tensors()].map(({ name, buffer }) => [name, hash(new Uint8Array(buffer))] as const),
  )
}

export function descriptorCount(): number {
  return readdirSync('/proc/self/fd').length
}

/** Bytes that a process has read with system calls, from files or elsewhere. */
export function bytesReadBy(pid: number): number {
  return Number(/^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))![1])
}

interface Reply {
  readonly id: number
  readonly result?: unknown
  readonly error?: { readonly name: string; readonly code: string; readonly message: string }
}

/** A script of children/ in a process of its own that answers requests; it is killed when the test ends. */
export class Program {
  readonly pid: number
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null; stderr: string }>
  readonly #child: ChildProcess
  readonly #pending = new Map<number, (reply: Reply) => void>()
  #nextId = 1

  private constructor(child: ChildProcess) {
    this.#child = child
    this.pid = child.pid!
    let stderr = ''
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    child.on('message', (reply: Reply) => this.#pending.get(reply.id)?.(reply))
    this.ended = new Promise((resolve) => {
      child.on('close', (code, signal) => {
        resolve({ code, signal, stderr })
        for (const [id, settle] of this.#pending)
          settle({ id, error: { name: 'Ended', code: 'ENDED', message: stderr } })
      })
    })
  }

  static async start(script: string, ...args: readonly string[]): Promise<Program> {
    const child = fork(fileURLToPath(new URL(`children/${script}`, import.meta.url)), args, {
      env: { ...process.env, NODE_OPTIONS: '' },
      execArgv: ['--expose-gc'],
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    const program = new Program(child)
    await program.#reply(0)
    return program
  }

  ask(verb: string, ...args: readonly unknown[]): Promise<unknown> {
    const id = this.#nextId++
    const reply = this.#reply(id)
    this.#child.send({ id, verb, args })
    return reply
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): Program['ended'] {
    this.#child.kill(signal)
    return this.ended
  }

  #reply(id: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#pending.set(id, ({ result, error }) => {
        this.#pending.delete(id)
        if (error === undefined) resolve(result)
        else reject(Object.assign(new Error(error.message), error))
      })
    })
  }
}

/** The coordinator's state, once it is as wanted. */
export async function statusWhere(
  coordinator: Program,
  wanted: (status: CoordinatorStatus) => boolean,
): Promise<CoordinatorStatus> {
  let status: CoordinatorStatus | undefined
  await until(async () => {
    status = (await coordinator.ask('status')) as CoordinatorStatus
    return wanted(status)
  }, `a state of the coordinator: ${wanted}`)
  return status!
}

/** All leases there are: `name@version` of each, as the versions count them. */
export function leasesOf({ checkpoints }: CoordinatorStatus): string[] {
  return checkpoints.flatMap(({ name, versions }) =>
    versions.flatMap(({ version, leases }) => Array<string>(leases).fill(`${name}@${version}`)),
  )
}

/** A module in a process of its own, to its end. */
export function runScript(script: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const node = ['--input-type=module', '-e', script, ...args]
  const child = spawn(process.execPath, node, {
    cwd: new URL('.', import.meta.url),
    env: { ...process.env, NODE_OPTIONS: '', ...env },
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (text) => {
    stdout += text
  })
  child.stderr.on('data', (text) => {
    stderr += text
  })
  const ended = new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) => {
    child.on('close', (code) => resolve({ code, stdout, stderr }))
  })
  return { ended, pid: child.pid!, said: (text: string) => until(() => stdout.includes(text)) }
}

/** The coordinator's end of a connection, which says what the test wants. */
export interface Counterpart {
  readonly connection: CoordinatorConnection
  readonly heard: ClientMessage[]
}

/** Something that listens where a coordinator would, and leaves every word to the test. */
export async function standIn(
  socket: string,
  onMessage: (message: ClientMessage, counterpart: Counterpart, descriptors: readonly Descriptor[]) => void,
): Promise<{ readonly counterparts: Counterpart[]; close(): void }> {
  const counterparts: Counterpart[] = []
  rmSync(socket, { force: true })
  const listener = new UnixListener(
    listenUnix(socket),
    (stream) => {
      const heard: ClientMessage[] = []
      const connection = coordinatorConnection(stream, {
        onMessage: (message, descriptors) => {
          heard.push(message)
          onMessage(message, counterpart, descriptors)
        },
        onClose: () => {},
      })
      const counterpart = { connection, heard }
      counterparts.push(counterpart)
    },
    (error) => {
      throw error
    },
  )
  const close = (): void => {
    listener.close()
    for (const { connection } of counterparts) connection.close()
  }
  onTestFinished(close)
  return { counterparts, close }
}

export const WELCOME = {
  type: 'welcome',
  protocol: 1,
  coordinator: 'stand-in',
  pid: 1,
  software: 'test',
  loading: 0,
} as const

/** A grant of a checkpoint in sealed memory, and its descriptors, which are closed when the test ends. */
export async function grantOf(
  source: string,
  selection: Selection = { tensors: [] },
): Promise<{ granted: Granted; descriptors: Descriptor[] }> {
  using opened = await openCheckpoint(source)
  const { arenas, release } = await opened.holdArenas(selection)
  onTestFinished(release)
  const directory = sealBytes(new Uint8Array(opened.directory), 'directory')
  const shards = await Promise.all(
    opened.shards.map(({ path, byteLength }, at) => sealFile(opened.descriptors()[at]!, path, byteLength)),
  )
  const gathered = arenas.map(({ memory }) => memory as FileMapping)
  const mappings = [directory, ...shards, ...gathered]
  onTestFinished(() => {
    for (const mapping of [directory, ...shards]) mapping.close()
  })
  const granted: Granted = {
    type: 'granted',
    id: 1,
    lease: 1,
    checkpoint: 'a',
    version: 1,
    fingerprint: opened.fingerprint,
    label: opened.label,
    backing: 'sealed',
    shards: opened.shards.map(({ name, byteLength }) => ({ name, byteLength })),
    arenas: arenas.map(({ byteLength }, at) => ({ name: `arena ${at + 1}`, byteLength })),
  }
  return { granted, descriptors: mappings.map(({ descriptor }) => descriptor) }
}
