import { setTimeout as sleep } from 'node:timers/promises'
import type { MessagePort, Worker } from 'node:worker_threads'
import type { Checkpoint } from '@onecopy/checkpoint'
import { limitBehind } from '@onecopy/sharedarraybuffer-utils/mapped'
import type { Piscina } from 'piscina'
import { AbortError } from './abort-error.ts'
import { ClientError } from './errors.ts'
import { unpackThrown } from './unpack-thrown.ts'
import type { ImportBoard } from './worker-data.ts'

type RunOptions = Omit<NonNullable<Parameters<Piscina['run']>[1]>, 'signal'>

/** For imports that the end waits for. Modules are there in well under a second; service managers wait 10 s before they kill. */
const LONGEST_IMPORT_MS = 5000
/** Between two looks at the imports. */
const LOOK_MS = 5
/** Before a thread that is still there is told again to end. */
const INSIST_MS = 100
/** Until the end of threads that cannot be interrupted is no longer waited for. */
const LONGEST_END_MS = 30_000

/** The threads of a pool that share one checkpoint, until a swap begins the next generation. */
export class Generation<Task, Result> {
  readonly checkpoint: Checkpoint
  readonly piscina: Piscina<Task, Result>
  readonly #imports: ImportBoard
  readonly #onError: (error: unknown) => void
  /** Tasks that run or wait. */
  #unfinished = 0
  #onIdle: (() => void) | null = null
  /** Tasks that had ended when a thread last did. */
  #completedBefore = 0
  /** While the waiting tasks are being refused: why, and until when. */
  #refusal: { readonly error: unknown; readonly done: Promise<void> } | null = null
  #importsEnded: Promise<void> | null = null
  #drained: Promise<void> | null = null
  #ended: Promise<void> | null = null

  /**
   * Takes over checkpoint and pool: they end with the generation.
   * @param onError hears of errors in threads for which no task can be rejected
   */
  constructor(
    checkpoint: Checkpoint,
    piscina: Piscina<Task, Result>,
    imports: ImportBoard,
    onError: (error: unknown) => void,
  ) {
    this.checkpoint = checkpoint
    this.piscina = piscina
    this.#imports = imports
    this.#onError = onError
    piscina.on('error', this.#threadFailed)
    // Emitted however piscina ends a thread, also for a signal that aborts.
    piscina.on('workerDestroy', (thread: object) => {
      endForGood(insideOf(thread))
      // By then piscina has rejected what ran there, and has started another thread if it will.
      setImmediate(this.#lookAfterWaiting)
    })
  }

  run(task: Task, options: RunOptions, signal?: AbortSignal | null): Promise<Result> {
    this.#unfinished++
    const result = signal == null ? this.#give(task, options) : this.#giveAbortable(task, options, signal)
    return result.then(this.#resolved, this.#rejected)
  }

  readonly #resolved = (result: Result): Result => {
    this.#taskEnded()
    return result
  }

  readonly #rejected = (reason: unknown): never => {
    this.#taskEnded()
    throw this.#refusal === null ? notStarted(unpackThrown(reason)) : this.#refusal.error
  }

  #taskEnded(): void {
    if (--this.#unfinished === 0) this.#onIdle?.()
  }

  #give(task: Task, options: RunOptions & { signal?: AbortSignal }): Promise<Result> {
    if (this.#refusal !== null) return this.#refusal.done.then(() => this.#give(task, options))
    try {
      return this.piscina.run(task, options)
    } catch (error) {
      return Promise.reject(error) // of a thread that cannot be started
    }
  }

  /**
   * piscina ends the thread of a task that is aborted, at once. So it gets a signal of ours, which aborts when no thread
   * imports a module: see `#end`. Who aborts does not wait for that.
   */
  #giveAbortable(task: Task, options: RunOptions, signal: AbortSignal): Promise<Result> {
    if (signal.aborted) return Promise.reject(new AbortError(signal))
    const own = new AbortController()
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        reject(new AbortError(signal))
        if (this.#isAnyImporting()) void this.#afterImports().then(() => own.abort())
        else own.abort()
      }
      signal.addEventListener('abort', onAbort, { once: true })
      const forget = (): void => signal.removeEventListener('abort', onAbort)
      const given = this.#give(task, { ...options, signal: own.signal })
      given.then(resolve, reject).finally(forget)
    })
  }

  /**
   * Ends after all tasks that were given. piscina's own close would not do: it counts a thread as done again with every task
   * that it ends, so that others are ended in the midst of theirs, and its timer keeps the weights for 30 seconds.
   */
  drain(): Promise<void> {
    this.#drained ??= this.#drain() // once: a pool that is closed drains what a swap is draining already
    return this.#drained
  }

  /**
   * Ends without waiting for tasks, which reject.
   * @throws ClientError THREAD_NOT_ENDED
   */
  destroy(): Promise<void> {
    this.#ended ??= this.#end().finally(() => this.checkpoint.close())
    return this.#ended
  }

  /**
   * Threads that import a module are let finish that first, within a limit: ended in the midst of require() of a module in ESM,
   * by whichever module, a thread takes the whole process with it ("CreateRequiredModuleFacade", Node 20 to 26).
   */
  async #end(): Promise<void> {
    Atomics.store(this.#imports, 0, 1)
    await this.#afterImports()
    const { options, threads } = this.piscina
    // A thread that a signal ended before may exit after the others; piscina would replace it, for good.
    options.minThreads = 0
    const late = new AbortController()
    const limit = sleep(LONGEST_END_MS, 'late', { ref: false, signal: late.signal }).catch(() => null)
    const outcome = await Promise.race([this.piscina.destroy(), limit])
    late.abort()
    if (outcome !== 'late') return
    const left = threads.filter(({ threadId }) => threadId > 0).length
    throw new ClientError(
      'THREAD_NOT_ENDED',
      `${left} of ${threads.length} threads of the pool have not ended within ${LONGEST_END_MS / 1000} s: ` +
        'what they do cannot be interrupted, such as a synchronous call of the system',
    )
  }

  async #drain(): Promise<void> {
    if (this.#unfinished > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve
      })
    }
    await this.destroy()
  }

  #isAnyImporting(): boolean {
    return this.piscina.threads.some(({ threadId }) => {
      const slots = this.#imports.length - 1
      return threadId > 0 && Atomics.load(this.#imports, 1 + (threadId % slots)) === threadId
    })
  }

  /** Resolves when no thread imports a module, or the limit has passed. */
  #afterImports(): Promise<void> {
    this.#importsEnded ??= this.#waitForImports().finally(() => {
      this.#importsEnded = null
    })
    return this.#importsEnded
  }

  async #waitForImports(): Promise<void> {
    const latest = performance.now() + LONGEST_IMPORT_MS
    while (this.#isAnyImporting() && performance.now() < latest) await sleep(LOOK_MS)
  }

  /** A thread failed while it had no task. */
  readonly #threadFailed = (reason: unknown): void => {
    const error = unpackThrown(reason)
    const { queueSize, threads } = this.piscina
    if (queueSize > 0 && threads.length === 0) this.#refuseWaiting(error)
    else this.#onError(notStarted(error))
  }

  /**
   * piscina starts threads beyond its minimum only when it is given a task: those that wait when the last thread goes, by a
   * signal that aborts or by its own fault, would wait for ever.
   */
  readonly #lookAfterWaiting = (): void => {
    const { completed, queueSize, threads } = this.piscina
    const progressed = completed !== this.#completedBefore
    this.#completedBefore = completed
    if (this.#ended !== null || queueSize === 0 || threads.length > 0) return
    try {
      if (progressed) startThread(this.piscina)
      else this.#refuseWaiting()
    } catch (error) {
      this.#refuseWaiting(error)
    }
  }

  /** Threads end before they can run a task: to start more of them would go on for ever. */
  #refuseWaiting(cause?: unknown): void {
    const how = cause === undefined ? 'as by process.exit()' : String(cause)
    const message = `A thread of the pool ended while it started, before it could run a task: ${how}`
    const limited = notStarted(cause)
    const error = limited === cause ? new ClientError('THREAD_NOT_STARTED', message, { cause }) : limited
    // Rejects what waits; piscina is as new afterwards.
    const done = this.piscina.destroy().then(async () => {
      await new Promise((resolve) => setImmediate(resolve)) // by then everybody has been told
      this.#refusal = null
    })
    this.#refusal = { error, done }
  }
}

/** An error of Node that a thread could not be started with, with the limit that it ran into; any other as it is. */
function notStarted(error: unknown): unknown {
  if ((error as { code?: unknown } | null)?.code !== 'ERR_WORKER_INIT_FAILED') return error
  const limit = limitBehind(error)
  const message = `A thread of the pool cannot be started: ${limit ?? (error as Error).message}`
  return new ClientError('THREAD_NOT_STARTED', message, { cause: error })
}

/** A task that nobody wants makes piscina start a thread for those that wait. */
function startThread(piscina: Piscina): void {
  const { options } = piscina
  const { maxQueue } = options
  const unwanted = new AbortController()
  try {
    options.maxQueue = Number.POSITIVE_INFINITY
    piscina.run(undefined, { signal: unwanted.signal }).catch(() => {})
  } finally {
    options.maxQueue = maxQueue
    unwanted.abort()
  }
}

/** What piscina has behind the thread that its events tell of, under a symbol that it keeps to itself. */
function insideOf(thread: object): { readonly worker: Worker; readonly port: MessagePort } | null {
  for (const key of Object.getOwnPropertySymbols(thread)) {
    const inside: unknown = (thread as Record<symbol, unknown>)[key]
    if (typeof inside === 'object' && inside !== null && 'worker' in inside && 'port' in inside) {
      return inside as { worker: Worker; port: MessagePort }
    }
  }
  return null
}

/**
 * A thread that was ended may still be heard: by an answer that was on its way, of which piscina would make an `error` event
 * ("Unexpected message from Worker"), or by an error. Nobody waits for either, and without a listener each ends the process.
 *
 * And terminate() may be lost: since Node 22 an ES module that imports CommonJS or `node:` modules goes on as if nothing had
 * happened when the thread is told to end while one of those runs (node's SyntheticModuleEvaluationStepsCallback). Most threads
 * then end in their event loop, but one of piscina's waits for tasks with Atomics.wait, forever. Telling it again ends it.
 */
function endForGood(inside: ReturnType<typeof insideOf>): void {
  if (inside === null) return
  const { worker, port } = inside
  port.removeAllListeners('message')
  worker.removeAllListeners('error')
  worker.on('error', () => {})
  if (worker.threadId === -1) return
  // Every terminate() adds a listener for the exit.
  worker.setMaxListeners(0)
  const timer = setInterval(() => void worker.terminate(), INSIST_MS).unref()
  worker.once('exit', () => clearInterval(timer))
}
