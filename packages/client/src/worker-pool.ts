import { EventEmitter } from 'node:events'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { Worker } from 'node:worker_threads'
import { Checkpoint } from '@onecopy/checkpoint/adopt'
import type { Piscina } from 'piscina'
import { ClientError } from './errors.ts'
import { Generation } from './generation.ts'
import { formatTaskName } from './task-name.ts'
import { createImportBoard, IMPORTS_KEY, type PoolWorkerData, SHARE_KEY } from './worker-data.ts'

type PiscinaOptions = NonNullable<ConstructorParameters<typeof Piscina>[0]>
type PiscinaRunOptions = NonNullable<Parameters<Piscina['run']>[1]>

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
const EVENTS = ['drain', 'error', 'message', 'needsDrain', 'workerDestroy'] as const

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
    assertPlainObject(options.workerData)
    this.#Piscina = piscina
    this.#options = options
    this.#current = this.#start(checkpoint)
  }

  /**
   * Runs one task in a thread that is free, or as soon as one is.
   * @param options piscina's: `signal`, `transferList`, `name`, `filename`
   * @throws whatever the task throws; an AbortError when the signal aborts; ClientError POOL_DESTROYED
   */
  run(task: Task, options: Omit<PiscinaRunOptions, 'filename'> & { filename?: string | URL } = {}): Promise<Result> {
    if (this.#destroyed) return Promise.reject(poolDestroyed())
    const { filename, name, ...rest } = options
    // Most tasks run what the pool was made for, and the pool's own piscina knows its name.
    if (filename === undefined && name === undefined) return this.#current.run(task, rest)
    const other = taskName(name ?? this.#options.name, filename ?? this.#options.filename)
    return this.#current.run(task, { ...rest, name: other })
  }

  /**
   * Moves to another checkpoint: tasks given from now on run on it; those that run or wait now end on the old one, whose
   * threads then end and whose hold is given up. Resolves at once when the new threads are started; `swapped` waits for the
   * old ones. The checkpoints stay the caller's to close.
   * @returns a promise of the old generation's end
   * @throws ClientError POOL_DESTROYED; CheckpointError CHECKPOINT_CLOSED, and the pool stays as it is
   */
  async swap(checkpoint: Checkpoint): Promise<{ readonly swapped: Promise<void> }> {
    if (this.#destroyed) throw poolDestroyed()
    const old = this.#current
    this.#current = this.#start(checkpoint)
    this.#draining.add(old)
    const swapped = old.drain().finally(() => this.#draining.delete(old))
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

  /** Lets running and waiting tasks end, then ends the threads and gives up the pool's hold on the checkpoint. */
  async close(): Promise<void> {
    this.#destroyed = true
    await Promise.all([...this.#draining, this.#current].map((generation) => generation.drain()))
    this.emit('close')
  }

  /**
   * Ends the threads without waiting for their tasks, which reject, and gives up the pool's hold on the checkpoint. Threads that
   * are importing a module get a few seconds to finish that. Idempotent.
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
      return new Generation(own, piscina, imports)
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
  const given = typeof filename === 'string' && !filename.startsWith('file:')
  return formatTaskName({ name: name ?? 'default', url: given ? pathToFileURL(filename).href : new URL(filename).href })
}

/** @throws TypeError when a pool's workerData is something to which nothing can be added */
export function assertPlainObject(workerData: unknown): void {
  if (workerData === undefined) return
  const prototype =
    typeof workerData === 'object' && workerData !== null ? Object.getPrototypeOf(workerData) : undefined
  if (prototype === Object.prototype || prototype === null) return
  throw new TypeError('The option workerData must be a plain object: the pool adds the checkpoint to it')
}
