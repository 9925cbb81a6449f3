import { EventEmitter } from 'node:events'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { Worker } from 'node:worker_threads'
import { Checkpoint } from '@onecopy/checkpoint/adopt'
import type { Piscina } from 'piscina'
import { ClientError } from './errors.ts'
import type { TaskName } from './find-task.ts'
import { Generation } from './generation.ts'
import { checkMethodOptions, checkPoolCheckpoint } from './pool-options.ts'
import { createImportBoard, IMPORTS_KEY, type PoolWorkerData, SHARE_KEY } from './worker-data.ts'

type PiscinaOptions = NonNullable<ConstructorParameters<typeof Piscina>[0]>
type PiscinaRunOptions = NonNullable<Parameters<Piscina['run']>[1]>

/** Options of `createWorkerPool`: piscina's own but for `closeTimeout`, and the checkpoint. */
export interface WorkerPoolOptions extends Omit<PiscinaOptions, 'filename' | 'workerData' | 'closeTimeout'> {
  /** What every thread reads. The pool takes a handle of its own, so closing this one does not disturb it. */
  readonly checkpoint: Checkpoint
  /**
   * The module whose default export runs the tasks: a URL that Node can import, or a path, which begins at the working
   * directory when it is relative. Threads import it; what goes wrong then is what `run` rejects with.
   */
  readonly filename: string | URL
  /** Further data for the threads, as piscina's; a plain object, because the pool adds the checkpoint to it. */
  readonly workerData?: Readonly<Record<string, unknown>>
}

/** Options of `run`: piscina's. */
export interface PoolRunOptions extends Omit<PiscinaRunOptions, 'filename' | 'signal'> {
  /** Another module than the pool's, see `WorkerPoolOptions.filename`. */
  readonly filename?: string | URL | null
  /**
   * When it aborts, the task rejects at once. A task that waits is never run then; the thread of one that runs is ended,
   * and another takes its place.
   */
  readonly signal?: AbortSignal | null
}

/** Options of `close`. */
export interface PoolCloseOptions {
  /** After so many milliseconds the rest is ended as by `destroy`. @default tasks are waited for as long as they take */
  readonly timeoutMs?: number
}

/** piscina's events, passed on as they come; `workerCreate` comes a tick later and `error` is sorted out, see `#start`. */
const EVENTS = ['drain', 'message', 'needsDrain', 'workerDestroy'] as const

/**
 * A piscina pool whose threads share one checkpoint: in the module that runs the tasks, `weights()` of `onecopy/worker`
 * is that checkpoint, without a copy and from the first task on; threads that piscina starts later get it too.
 *
 * `swap` moves the pool to another checkpoint without dropping a task: the threads that are there finish what they have,
 * new threads start on the new weights.
 * @typeParam Task what `run` takes
 * @typeParam Result what the task function gives
 */
export class WorkerPool<Task = unknown, Result = unknown> extends EventEmitter implements AsyncDisposable {
  readonly #Piscina: typeof Piscina
  readonly #options: Omit<WorkerPoolOptions, 'checkpoint'>
  #current: Generation<Task, Result>
  /** Generations that still finish tasks on the weights they began with. */
  readonly #draining = new Set<Generation<Task, Result>>()
  #destroyed = false

  /** @internal Pools come from `createWorkerPool`. */
  constructor(piscina: typeof Piscina, { checkpoint, ...options }: WorkerPoolOptions) {
    super()
    this.#Piscina = piscina
    this.#options = options
    this.#current = this.#start(checkpoint)
  }

  /**
   * Runs one task in a thread that is free, or as soon as one is.
   * @throws whatever the task throws: errors that are built in or ours as what they are, others as an Error with the same
   * name, message, stack, `code` and fields, each with its cause; whatever the task module throws while it is imported, with
   * the module's name in the message and in `taskModule`; an AbortError when the signal aborts; TypeError, RangeError for
   * options; ClientError TASK_NOT_FOUND, THREAD_NOT_STARTED, POOL_DESTROYED
   */
  run(task: Task, options?: PoolRunOptions): Promise<Result> {
    // Most tasks run what the pool was made for, and the pool's own piscina knows its name.
    if (options === undefined && !this.#destroyed) return this.#current.run(task, {})
    return this.#runAs(task, options)
  }

  async #runAs(task: Task, options: PoolRunOptions = {}): Promise<Result> {
    if (this.#destroyed) throw poolDestroyed()
    checkMethodOptions('run', options)
    const { filename, name, signal, ...rest } = options
    if (filename == null && name == null) return this.#current.run(task, rest, signal)
    const other = taskName(name ?? this.#options.name, filename ?? this.#options.filename)
    return this.#current.run(task, { ...rest, name: other }, signal)
  }

  /**
   * Moves to another checkpoint: tasks given from now on run on it; those that run or wait now end on the old one, whose
   * threads then end and whose hold is given up. Resolves at once when the new threads are started; `swapped` waits for the
   * old ones. The checkpoints stay the caller's to close.
   * @returns a promise of the old generation's end
   * @throws TypeError; ClientError POOL_DESTROYED; CheckpointError CHECKPOINT_CLOSED; the pool stays as it is
   */
  async swap(checkpoint: Checkpoint): Promise<{ readonly swapped: Promise<void> }> {
    if (this.#destroyed) throw poolDestroyed()
    checkPoolCheckpoint(checkpoint)
    const old = this.#current
    this.#current = this.#start(checkpoint)
    this.#draining.add(old)
    const swapped = old.drain().finally(() => this.#draining.delete(old))
    swapped.catch(() => {}) // for those who do not wait for it
    return { swapped }
  }

  /** The checkpoint that new tasks read, as the pool holds it. */
  get checkpoint(): Checkpoint {
    return this.#current.checkpoint
  }

  /** The piscina pool that new tasks go to, for what is not passed through: histogram, utilization and the like. */
  get piscina(): Piscina<Task, Result> {
    return this.#current.piscina
  }

  get threads(): readonly Worker[] {
    return this.#current.piscina.threads
  }

  /** Tasks that wait for a thread. */
  get queueSize(): number {
    return this.#current.piscina.queueSize
  }

  /** Tasks that have ended since the last swap. */
  get completed(): number {
    return this.#current.piscina.completed
  }

  get needsDrain(): boolean {
    return this.#current.piscina.needsDrain
  }

  /**
   * Lets running and waiting tasks end, then ends the threads and gives up the pool's hold on the checkpoint.
   * @throws ClientError THREAD_NOT_ENDED; TypeError, RangeError
   */
  async close(options: PoolCloseOptions = {}): Promise<void> {
    checkMethodOptions('close', options)
    this.#destroyed = true
    const { timeoutMs } = options
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => this.destroy().catch(() => {}), timeoutMs)
    try {
      await Promise.all([...this.#draining, this.#current].map((generation) => generation.drain()))
    } finally {
      clearTimeout(timer)
    }
    this.emit('close')
  }

  /**
   * Ends the threads without waiting for their tasks, which reject, and gives up the pool's hold on the checkpoint. Threads that
   * are importing a module get a few seconds to finish that. Idempotent.
   * @throws ClientError THREAD_NOT_ENDED
   */
  async destroy(): Promise<void> {
    this.#destroyed = true
    await Promise.all([...this.#draining, this.#current].map((generation) => generation.destroy()))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #start(checkpoint: Checkpoint): Generation<Task, Result> {
    const { filename, name, workerData, ...options } = this.#options
    const own = Checkpoint.adopt(checkpoint.share())
    const imports = createImportBoard()
    const shared: PoolWorkerData = { [SHARE_KEY]: own.share(), [IMPORTS_KEY]: imports }
    try {
      const piscina = new this.#Piscina<Task, Result>({
        ...options,
        filename: TASK_LOADER,
        name: taskName(name, filename),
        workerData: { ...workerData, ...shared },
      })
      for (const event of EVENTS) piscina.on(event, (...args) => this.emit(event, ...args))
      // piscina announces its first threads in a microtask, before the caller of an async function can listen.
      piscina.on('workerCreate', (worker) => process.nextTick(() => this.emit('workerCreate', worker)))
      return new Generation(own, piscina, imports, (error) => this.emit('error', error))
    } catch (error) {
      own.close()
      throw error
    }
  }
}

function poolDestroyed(): ClientError {
  return new ClientError('POOL_DESTROYED', 'The worker pool was destroyed')
}

/** See task-loader.cts for why the user's module is not what piscina loads. */
const TASK_LOADER = fileURLToPath(new URL('./task-loader.cjs', import.meta.url))

function taskName(name: string | null | undefined, filename: string | URL): string {
  const isPath = typeof filename === 'string' && !filename.startsWith('file:')
  const url = isPath ? pathToFileURL(filename).href : new URL(filename).href
  return JSON.stringify({ name: name ?? 'default', url } satisfies TaskName)
}
