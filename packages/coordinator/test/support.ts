import { type ChildProcess, fork, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openCheckpoint, type Selection, saveCheckpoint } from '@onecopy/checkpoint'
import {
  type ClientConnection,
  type ClientMessage,
  type CoordinatorMessage,
  clientConnection,
  fromWire,
} from '@onecopy/protocol'
import { closeDescriptors, connectUnix, type Descriptor, sealBytes, sealFile } from '@onecopy/sharedarraybuffer-utils'
import { expect, onTestFinished } from 'vitest'
import { temporaryFolder } from '../../../test/temporary-folder.ts'

export type { Refusal } from '../../../test/refusal.ts'
export { refusal } from '../../../test/refusal.ts'
export { temporaryFolder } from '../../../test/temporary-folder.ts'
export { collectUntil, until } from '../../../test/until.ts'

export function temporarySocket(): string {
  return join(temporaryFolder(), 's', 'socket')
}

/**
 * Saves a checkpoint of equal U8 tensors `t0`, `t1`, …, one in each shard.
 * @param fill the byte that the first one is filled with; the next has the next one
 * @returns its folder
 */
export async function saveModel(
  folder: string,
  { fill = 1, shards = 2, tensorBytes = 4096 }: { fill?: number; shards?: number; tensorBytes?: number } = {},
): Promise<string> {
  const tensors = Array.from({ length: shards }, (_, at) => {
    const data = new Uint8Array(tensorBytes).fill(fill + at)
    return { name: `t${at}`, dtype: 'U8' as const, shape: [tensorBytes], data }
  })
  rmSync(folder, { recursive: true, force: true })
  await saveCheckpoint(folder, tensors, shards === 1 ? {} : { maxShardBytes: tensorBytes })
  return folder
}

/**
 * Saves two matrices `a` and `b` of U8, equal but for a byte that is added to each element of the second, in one shard.
 * @param fill added to all elements
 */
export async function saveMatrices(
  folder: string,
  { fill = 0, rows = 64, columns = 64 }: { fill?: number; rows?: number; columns?: number } = {},
): Promise<string> {
  const tensors = ['a', 'b'].map((name, at) => {
    const data = Uint8Array.from({ length: rows * columns }, (_, index) => fill + at + (index % 251))
    return { name, dtype: 'U8' as const, shape: [rows, columns], data }
  })
  rmSync(folder, { recursive: true, force: true })
  await saveCheckpoint(folder, tensors)
  return folder
}

/** Columns of both matrices of `saveMatrices`, which have to be gathered. */
export function columns(start: number, stop: number, rows = 64): Selection {
  const ranges = [[0, rows] as const, [start, stop] as const]
  return { tensors: ['a', 'b'].map((name) => ({ name, ranges })) }
}

/** Bytes of all shards. */
export function modelBytes(folder: string): number {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.safetensors'))
    .reduce((sum, name) => sum + readFileSync(join(folder, name)).byteLength, 0)
}

/** What a client that holds a checkpoint in sealed memory offers to a new coordinator. */
export async function sealedOffer(source: string) {
  using opened = await openCheckpoint(source)
  const directory = sealBytes(new Uint8Array(opened.directory), 'directory')
  const shards = await Promise.all(
    opened.shards.map(({ path, byteLength }, at) => sealFile(opened.descriptors()[at]!, path, byteLength)),
  )
  const mappings = [directory, ...shards]
  return {
    offer: {
      checkpoint: 'a',
      fingerprint: opened.fingerprint,
      label: opened.label,
      shards: opened.shards.map(({ name, byteLength }) => ({ name, byteLength })),
      arenas: [],
    },
    descriptors: mappings.map(({ descriptor }) => descriptor),
    close: () => {
      for (const mapping of mappings) mapping.close()
    },
  }
}

export interface Answer {
  readonly message: CoordinatorMessage
  readonly descriptors: readonly Descriptor[]
}

type Unnumbered<Message> = Message extends { id: number } ? Omit<Message, 'id'> : never

/** A client that says what it is told to say, and keeps what it hears; closed when the test ends. */
export class TestClient {
  readonly connection: ClientConnection
  readonly events: CoordinatorMessage[] = []
  readonly opening: Promise<CoordinatorMessage>
  /** Resolves when the connection has ended, with the protocol's error. */
  readonly ended: Promise<Error | null>
  readonly #pending = new Map<number, (answer: Answer) => void>()
  #hasEnded = false
  #nextId = 1

  constructor(socket: string, hello: Partial<ClientMessage & { type: 'hello' }> = {}) {
    let onOpening = (_: CoordinatorMessage): void => {}
    let onEnd = (_: Error | null): void => {}
    this.opening = new Promise((resolve) => {
      onOpening = resolve
    })
    this.ended = new Promise((resolve) => {
      onEnd = resolve
    })
    this.connection = clientConnection(connectUnix(socket), {
      onMessage: (message, descriptors) => {
        if (message.type === 'welcome' || message.type === 'refused') onOpening(message)
        else if ('id' in message) this.#pending.get(message.id)?.({ message, descriptors })
        else this.events.push(message)
      },
      onClose: (error) => {
        this.#hasEnded = true
        onEnd(error)
      },
    })
    onTestFinished(() => this.connection.close())
    this.connection.send({ type: 'hello', protocol: 1, oldestProtocol: 1, name: 'test', software: 'test', ...hello })
  }

  static async connect(socket: string, name = 'test'): Promise<TestClient> {
    const client = new TestClient(socket, { name })
    expect((await client.opening).type).toBe('welcome')
    return client
  }

  get hasEnded(): boolean {
    return this.#hasEnded
  }

  /** Asks, and gives whatever is answered. Descriptors are closed when the test ends. */
  ask(request: Unnumbered<ClientMessage>, descriptors: readonly Descriptor[] = []): Promise<Answer> {
    const id = this.#nextId++
    return new Promise((resolve) => {
      this.#pending.set(id, (answer) => {
        if (answer.descriptors.length > 0) onTestFinished(() => closeDescriptors(answer.descriptors))
        resolve(answer)
      })
      this.connection.send({ ...request, id } as ClientMessage, descriptors)
    })
  }

  /** A lease. @throws what the coordinator answers with */
  async acquire(checkpoint: string, version: number | null = null, waitMs = 0, selection: string | null = null) {
    const { message, descriptors } = await this.ask({ type: 'acquire', checkpoint, version, waitMs, selection })
    if (message.type === 'error') throw fromWire(message.error)
    if (message.type !== 'granted') return expect.fail(`"${message.type}" was answered`)
    return { granted: message, descriptors }
  }

  async release(lease: number): Promise<void> {
    expect((await this.ask({ type: 'release', lease })).message.type).toBe('done')
  }

  close(): void {
    this.connection.close()
  }
}

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stderr: string
}

/** A coordinator of the built package in a process of its own, see children/coordinator.mjs. */
export class CoordinatorProcess {
  readonly pid: number
  readonly ended: Promise<Ended>
  readonly #child: ChildProcess
  readonly #pending = new Map<number, (reply: { result?: unknown; error?: { code: string } }) => void>()
  #nextId = 1

  private constructor(child: ChildProcess) {
    this.#child = child
    this.pid = child.pid!
    let stderr = ''
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    this.ended = new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal, stderr })))
    child.on('message', ({ id, ...reply }: { id: number }) => this.#pending.get(id)?.(reply))
    void this.ended.then(() => {
      for (const settle of this.#pending.values()) settle({ error: { code: `ENDED: ${stderr}` } })
    })
  }

  /** @param within a command that starts the one behind it, such as `prlimit` with a limit */
  static async start(
    options: object,
    env: NodeJS.ProcessEnv = {},
    within: readonly string[] = [],
  ): Promise<CoordinatorProcess> {
    const [execPath, ...execArgv] = [...within, process.execPath, '--expose-gc']
    const child = fork(fileURLToPath(new URL('children/coordinator.mjs', import.meta.url)), {
      env: { ...process.env, NODE_OPTIONS: '', ...env },
      execPath,
      execArgv,
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    const coordinator = new CoordinatorProcess(child)
    await coordinator.ask('start', options)
    return coordinator
  }

  /** Calls a method of the coordinator, or one of the child's own. */
  ask(verb: string, ...args: readonly unknown[]): Promise<unknown> {
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      this.#pending.set(id, ({ result, error }) => (error === undefined ? resolve(result) : reject(error)))
      this.#child.send({ id, verb, args })
    })
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<Ended> {
    this.#child.kill(signal)
    return this.ended
  }

  /** What it holds: descriptors by kind, and mappings of weights and directories. */
  holds(): { descriptors: string[]; mappings: number } {
    const folder = `/proc/${this.pid}/fd`
    const descriptors = readdirSync(folder).flatMap((descriptor) => {
      try {
        return [readlinkSync(join(folder, descriptor)).replace(/^(\w+):\[\d+\]$/, '$1')]
      } catch {
        return [] // closed meanwhile
      }
    })
    const maps = readFileSync(`/proc/${this.pid}/maps`, 'utf8').split('\n')
    const mappings = maps.filter((line) => line.includes('memfd:onecopy') || line.includes('.safetensors')).length
    return { descriptors: descriptors.sort(), mappings }
  }
}

/** Whether processes of other users, which only root may start, can come to what lies in a folder. */
export function othersCanReach(folder: string): boolean {
  if (process.geteuid?.() !== 0) return false
  const ids = ['--reuid=65534', '--regid=65534', '--clear-groups', '--']
  return spawnSync('setpriv', [...ids, 'test', '-x', folder]).status === 0
}
