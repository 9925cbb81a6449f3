import type { Checkpoint } from '@onecopy/checkpoint'
import type { Piscina } from 'piscina'

type RunOptions = NonNullable<Parameters<Piscina['run']>[1]>

/** The threads of a pool that share one checkpoint, until a swap begins the next generation. */
export class Generation<Task, Result> {
  readonly checkpoint: Checkpoint
  readonly piscina: Piscina<Task, Result>
  /** Tasks that run or wait. */
  #unfinished = 0
  #onIdle: (() => void) | null = null
  #ended: Promise<void> | null = null

  /** Takes over both: they end with the generation. */
  constructor(checkpoint: Checkpoint, piscina: Piscina<Task, Result>) {
    this.checkpoint = checkpoint
    this.piscina = piscina
  }

  run(task: Task, options: RunOptions): Promise<Result> {
    const result = this.piscina.run(task, options)
    this.#unfinished++
    const ended = (): void => {
      if (--this.#unfinished === 0) this.#onIdle?.()
    }
    result.then(ended, ended)
    return result
  }

  /**
   * Ends after all tasks that were given. piscina's own close would not do: it counts a thread as done again with every task
   * that it ends, so that others are ended in the midst of theirs, and its timer keeps the weights for 30 seconds.
   */
  async drain(): Promise<void> {
    if (this.#unfinished > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve
      })
    }
    await this.destroy()
  }

  /** Ends at once: tasks reject. */
  destroy(): Promise<void> {
    this.#ended ??= this.piscina.destroy().finally(() => this.checkpoint.close())
    return this.#ended
  }
}
