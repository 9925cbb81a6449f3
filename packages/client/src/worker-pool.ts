import { EventEmitter } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Worker } from 'node:worker_threads'
import { Checkpoint } from '@onecopy/checkpoint'
import { Piscina } from 'piscina'
import { ClientError } from './errors.ts'
import { type PoolWorkerData, SHARE_KEY } from './worker-data.ts'

type PiscinaOptions = NonNullable<ConstructorParameters<typeof Piscina>[0]>
type PiscinaRunOptions = NonNullable<Parameters<Piscina['run']>[1]>
type PiscinaCloseOptions = NonNullable<Parameters<Piscina['close']>[0]>

/** Options of `createWorkerPool`: piscina's own, and the checkpoint. */
export interface WorkerPoolOptions extends Omit<PiscinaOptions, 'filename' | 'workerData'> {
  /** What every thread reads. The pool takes a handle of its own, so closing this one does not disturb it. */
  readonly checkpoint: Checkpoint
  /** The module whose default export runs the tasks: a file URL or an absolute path. */
  readonly filename: string | URL
  /** Further data for the threads, as piscina's; a plain object, because the pool adds the checkpoint to it. */
  readonly workerData?: Readonly<Record<string, unknown>>
}

/** piscina's events, passed on as they come; `workerCreate` comes a tick later, see the constructor. */
const EVENTS = ['close', 'drain', 'error', 'message', 'needsDrain', 'workerDestroy'] as const

/**
 * A piscina pool whose threads share one checkpoint: in the module that runs the tasks, `weights()` of `onecopy/worker`
 * is that checkpoint, without a copy and from the first task on; threads that piscina starts later get it too.
 * @typeParam Task what `run` takes
 * @typeParam Result what the task function gives
 */
export class WorkerPool<Task = unknown, Result = unknown> extends EventEmitter implements AsyncDisposable {
  readonly #checkpoint: Checkpoint
  readonly #piscina: Piscina<Task, Result>
  #destroyed = false

  /** @internal Pools come from `createWorkerPool`. */
  constructor({ checkpoint, filename, workerData, ...options }: WorkerPoolOptions) {
    super()
    assertPlainObject(workerData)
    this.#checkpoint = Checkpoint.adopt(checkpoint.share())
    const shared: PoolWorkerData = { [SHARE_KEY]: this.#checkpoint.share() }
    try {
      this.#piscina = new Piscina<Task, Result>({
        ...options,
        filename: toFilename(filename),
        workerData: { ...workerData, ...shared },
      })
    } catch (error) {
      this.#checkpoint.close()
      throw error
    }
    for (const event of EVENTS) this.#piscina.on(event, (...args) => this.emit(event, ...args))
    // piscina announces its first threads in a microtask, before the caller of an async function can listen.
    this.#piscina.on('workerCreate', (worker) => process.nextTick(() => this.emit('workerCreate', worker)))
  }

  /**
   * Runs one task in a thread that is free, or as soon as one is.
   * @param options piscina's: `signal`, `transferList`, `name`, `filename`
   * @throws whatever the task throws; an AbortError when the signal aborts; ClientError POOL_DESTROYED
   */
  run(task: Task, options: Omit<PiscinaRunOptions, 'filename'> & { filename?: string | URL } = {}): Promise<Result> {
    if (this.#destroyed) return Promise.reject(new ClientError('POOL_DESTROYED', 'The worker pool was destroyed'))
    const { filename, ...rest } = options
    return this.#piscina.run(task, filename === undefined ? rest : { ...rest, filename: toFilename(filename) })
  }

  /** The checkpoint that the threads read, as the pool holds it. */
  get checkpoint(): Checkpoint {
    return this.#checkpoint
  }

  /** The piscina pool behind this one, for what is not passed through: histogram, utilization and the like. */
  get piscina(): Piscina<Task, Result> {
    return this.#piscina
  }

  get threads(): readonly Worker[] {
    return this.#piscina.threads
  }

  /** Tasks that wait for a thread. */
  get queueSize(): number {
    return this.#piscina.queueSize
  }

  /** Tasks that have ended. */
  get completed(): number {
    return this.#piscina.completed
  }

  get needsDrain(): boolean {
    return this.#piscina.needsDrain
  }

  /** Lets running and waiting tasks end, then ends the threads and gives up the pool's hold on the checkpoint. */
  async close(options: PiscinaCloseOptions = {}): Promise<void> {
    this.#destroyed = true
    await this.#piscina.close(options)
    this.#checkpoint.close()
  }

  /** Ends the threads at once (tasks reject) and gives up the pool's hold on the checkpoint. Idempotent. */
  async destroy(): Promise<void> {
    this.#destroyed = true
    await this.#piscina.destroy()
    this.#checkpoint.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/**
 * Starts a pool of threads that share one checkpoint.
 * @throws TypeError or RangeError for options that piscina refuses; CheckpointError CHECKPOINT_CLOSED
 */
export async function createWorkerPool<Task = unknown, Result = unknown>(
  options: WorkerPoolOptions,
): Promise<WorkerPool<Task, Result>> {
  return new WorkerPool<Task, Result>(options)
}

function toFilename(filename: string | URL): string {
  return filename instanceof URL || filename.startsWith('file:') ? fileURLToPath(filename) : filename
}

function assertPlainObject(workerData: unknown): void {
  if (workerData === undefined) return
  const prototype =
    typeof workerData === 'object' && workerData !== null ? Object.getPrototypeOf(workerData) : undefined
  if (prototype === Object.prototype || prototype === null) return
  throw new TypeError('The option workerData must be a plain object: the pool adds the checkpoint to it')
}
