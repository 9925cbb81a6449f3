import { type ChildProcess, fork } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { coordinatorStatus } from '@onecopy/client'
import type { CoordinatorOptions } from '@onecopy/coordinator'
import type { CheckpointStatus, CoordinatorStatus } from '@onecopy/protocol'
import { processMemory } from '@onecopy/sharedarraybuffer-utils'
import { onTestFinished } from 'vitest'
import { temporaryFolder } from './support.ts'
import { until } from './until.ts'

export { until } from './until.ts'

/** How a process ended. */
export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stderr: string
}

interface Reply {
  readonly id: number
  readonly result?: unknown
  readonly error?: { readonly name: string; readonly message: string; readonly code?: string }
}

/** An error that a program answered with. */
export class ProgramError extends Error {
  readonly code: string | undefined

  constructor({ message, code }: NonNullable<Reply['error']>) {
    super(message)
    this.code = code
  }
}

/** A program in a process of its own that answers requests, see programs/answer.mjs; it is killed when the test ends. */
export class Program {
  readonly pid: number
  readonly ended: Promise<Ended>
  readonly #child: ChildProcess
  readonly #pending = new Map<number, { resolve: (result: unknown) => void; reject: (error: Error) => void }>()
  #nextId = 0

  private constructor(child: ChildProcess) {
    this.#child = child
    this.pid = child.pid!
    let stderr = ''
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    this.ended = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        resolve({ code, signal, stderr })
        for (const { reject } of this.#pending.values()) {
          reject(new Error(`Process ${this.pid} ended (${signal ?? code}) without an answer: ${stderr}`))
        }
      })
    })
    child.on('message', (reply: Reply) => {
      const pending = this.#pending.get(reply.id)
      this.#pending.delete(reply.id)
      if (reply.error === undefined) pending?.resolve(reply.result)
      else pending?.reject(new ProgramError(reply.error))
    })
  }

  /** Starts a program of test/programs and waits until it is ready. */
  static async start(name: string, ...args: string[]): Promise<Program> {
    const path = fileURLToPath(new URL(`./programs/${name}`, import.meta.url))
    const child = fork(path, args, {
      execArgv: ['--expose-gc'],
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
      serialization: 'advanced',
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    const program = new Program(child)
    await program.#reply()
    return program
  }

  /**
   * Asks the program.
   * @typeParam Answer what the program's verb gives
   * @throws ProgramError when the program answers with an error
   */
  async ask<Answer = void>(verb: string, argument?: unknown): Promise<Answer> {
    const reply = this.#reply()
    this.#child.send({ id: this.#nextId - 1, verb, argument })
    return (await reply) as Answer
  }

  /** `kill -9`. */
  kill(): Promise<Ended> {
    this.#child.kill('SIGKILL')
    return this.ended
  }

  #reply(): Promise<unknown> {
    const id = this.#nextId++
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }))
  }
}

/** The path of a socket in a folder of its own. */
export function temporarySocket(): string {
  return join(temporaryFolder(), 'onecopy.sock')
}

/** @param options `startCoordinator`'s; long enough a wait for memory that is handed back, on a slow machine too */
export function startCoordinatorProcess(
  socket: string,
  options: Omit<CoordinatorOptions, 'socket'> = { handBackMs: 10_000 },
): Promise<Program> {
  return Program.start('coordinator.mjs', JSON.stringify({ socket, ...options }))
}

/** What a reader attaches to or opens, and how many threads read; none is the main thread. */
export type ReaderOptions = { readonly threads?: number } & (
  | { readonly socket: string; readonly checkpoint: string }
  | { readonly path: string }
)

export function startReader(options: ReaderOptions): Promise<Program> {
  return Program.start('reader.mjs', JSON.stringify(options))
}

/** Waits until the coordinator's status is as described, and gives that status. */
export async function statusWhere(
  socket: string,
  what: string,
  holds: (status: CoordinatorStatus) => boolean,
): Promise<CoordinatorStatus> {
  let status = await coordinatorStatus({ socket })
  await until(async () => {
    if (holds(status)) return true
    status = await coordinatorStatus({ socket })
    return false
  }, what)
  return status
}

/** One checkpoint of a coordinator's status. */
export function checkpointIn(status: CoordinatorStatus, name: string): CheckpointStatus | undefined {
  return status.checkpoints.find((checkpoint) => checkpoint.name === name)
}

/** Proportional memory of processes: what all of them together occupy, each page counted once. */
export async function pssOf(programs: readonly Program[]): Promise<number> {
  await Promise.all(programs.map((program) => program.ask('collect')))
  return programs.reduce((sum, { pid }) => sum + processMemory(pid).pssBytes, 0)
}

/** What the mappings of a process whose path contains a text occupy: proportional and resident bytes. */
export function mappedMemory(pid: number, text: string): { pssBytes: number; rssBytes: number } {
  const memory = { pssBytes: 0, rssBytes: 0 }
  let inside = false
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) inside = line.includes(text)
    const [, field, kib] = (inside && /^(Pss|Rss): +(\d+) kB$/.exec(line)) || []
    if (field === 'Pss') memory.pssBytes += Number(kib) * 1024
    if (field === 'Rss') memory.rssBytes += Number(kib) * 1024
  }
  return memory
}

/** Paths of what a process has mapped and contains a text, once for each mapping. */
export function mappedPaths(pid: number, text: string): string[] {
  const lines = readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')
  return lines.filter((line) => line.includes(text)).map((line) => line.slice(line.indexOf('/')))
}

/** What the descriptors of a process lead to. */
export function descriptorsOf(pid: number): string[] {
  const folder = `/proc/${pid}/fd`
  return readdirSync(folder).flatMap((descriptor) => {
    try {
      return [readlinkSync(join(folder, descriptor))]
    } catch {
      return [] // closed since it was listed
    }
  })
}

/** Processes that have a mapping of, or a descriptor to, something whose path contains a text. */
export function holdersOf(text: string): number[] {
  const pids = readdirSync('/proc').map(Number).filter(Number.isInteger)
  return pids.filter((pid) => {
    try {
      return mappedPaths(pid, text).length > 0 || descriptorsOf(pid).some((path) => path.includes(text))
    } catch {
      return false // another user's, or it has ended since
    }
  })
}

/** Bytes of shared memory on the whole machine, memfds among them. */
export function machineSharedMemory(): number {
  return Number(/^Shmem: +(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]) * 1024
}

/** Bytes that a process has read: by calls, and from disks, page faults included. */
export function bytesReadBy(pid: number): { byCalls: number; fromDisk: number } {
  const fields = readFileSync(`/proc/${pid}/io`, 'utf8')
  const field = (name: string): number => Number(new RegExp(`^${name}: (\\d+)$`, 'm').exec(fields)?.[1])
  return { byCalls: field('rchar'), fromDisk: field('read_bytes') }
}
