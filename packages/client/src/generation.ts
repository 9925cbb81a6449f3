import { setTimeout as sleep } from 'node:timers/promises'
import type { Worker } from 'node:worker_threads'
import type { Checkpoint } from '@onecopy/checkpoint'
import type { Piscina } from 'piscina'
import type { ImportBoard } from './worker-data.ts'

type RunOptions = NonNullable<Parameters<Piscina['run']>[1]>

/** For imports that the end waits for. Modules are there in well under a second; service managers wait 10 s before they kill. */
const LONGEST_IMPORT_MS = 5000
/** Between two looks at the imports. */
const LOOK_MS = 5
/** Before a thread that is still there is told again to end. */
const INSIST_MS = 100

/** The threads of a pool that share one checkpoint, until a swap begins the next generation. */
export class Generation<Task, Result> {
  readonly checkpoint: Checkpoint
  readonly piscina: Piscina<Task, Result>
  readonly #imports: ImportBoard
  /** Tasks that run or wait. */
  #unfinished = 0
  #onIdle: (() => void) | null = null
  #drained: Promise<void> | null = null
  #ended: Promise<void> | null = null

  /** Takes over both: they end with the generation. */
  constructor(checkpoint: Checkpoint, piscina: Piscina<Task, Result>, imports: ImportBoard) {
    this.checkpoint = checkpoint
    this.piscina = piscina
    this.#imports = imports
    // Emitted however piscina ends a thread (also for a signal that aborts), and while it is still among the threads.
    piscina.on('workerDestroy', ({ id }: { readonly id: number }) => {
      const thread = piscina.threads.find(({ threadId }) => threadId === id)
      if (thread !== undefined) insistOnEnd(thread)
    })
  }

  run(task: Task, options: RunOptions): Promise<Result> {
    const result = this.piscina.run(task, options)
    this.#unfinished++
    result.then(this.#taskEnded, this.#taskEnded)
    return result
  }

  readonly #taskEnded = (): void => {
    if (--this.#unfinished === 0) this.#onIdle?.()
  }

  /**
   * Ends after all tasks that were given. piscina's own close would not do: it counts a thread as done again with every task
   * that it ends, so that others are ended in the midst of theirs, and its timer keeps the weights for 30 seconds.
   */
  drain(): Promise<void> {
    this.#drained ??= this.#drain() // once: a pool that is closed drains what a swap is draining already
    return this.#drained
  }

  /** Ends without waiting for tasks, which reject. */
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
    const latest = performance.now() + LONGEST_IMPORT_MS
    while (this.piscina.threads.some((thread) => this.#isImporting(thread)) && performance.now() < latest) {
      await sleep(LOOK_MS)
    }
    await this.piscina.destroy()
  }

  async #drain(): Promise<void> {
    if (this.#unfinished > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve
      })
    }
    await this.destroy()
  }

  #isImporting({ threadId }: Worker): boolean {
    const slots = this.#imports.length - 1
    return threadId > 0 && Atomics.load(this.#imports, 1 + (threadId % slots)) === threadId
  }
}

/**
 * terminate() may be lost: since Node 22 an ES module that imports CommonJS or `node:` modules goes on as if nothing had
 * happened when the thread is told to end while one of those runs (node's SyntheticModuleEvaluationStepsCallback). Most threads
 * then end in their event loop, but one of piscina's waits for tasks with Atomics.wait, forever. Telling it again ends it.
 */
function insistOnEnd(thread: Worker): void {
  if (thread.threadId === -1) return
  // Every terminate() adds a listener for the exit.
  thread.setMaxListeners(0)
  const timer = setInterval(() => void thread.terminate(), INSIST_MS).unref()
  thread.once('exit', () => clearInterval(timer))
}
