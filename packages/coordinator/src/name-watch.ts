import { setImmediate as nextTurn } from 'node:timers/promises'
import { CoordinatorError, MAX_WAIT_MS } from '@onecopy/protocol'

/** Of those who wait for the same name, so many are woken before others get their turn. */
const WOKEN_A_TURN = 64

/** What may be answered otherwise when something has happened to the name. */
const PASSING = ['CHECKPOINT_UNKNOWN', 'VERSION_UNKNOWN', 'VERSION_NOT_READY', 'RESUME_REFUSED']

/** Those who wait for something to happen to a name; what happens to other names costs them nothing. */
export class NameWatch {
  readonly #waiting = new Map<string, Set<() => void>>()
  /** Rises with everything that happens, so that who looks, finds nothing and then waits misses nothing. */
  #changes = 0

  /** Wakes those who wait for a name. */
  happened(name: string): void {
    this.#changes++
    void this.#wake(name)
  }

  /** Wakes everybody, also who has looked and is about to wait. */
  close(): void {
    this.#changes++
    for (const name of this.#waiting.keys()) this.happened(name)
  }

  /**
   * Tries again whenever something has happened to a name, as long as the answer may still change and the time is not up.
   * @throws what the last attempt threw
   */
  async until<Result>(
    name: string,
    attempt: () => Result | Promise<Result>,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<Result> {
    const deadline = performance.now() + waitMs
    for (;;) {
      const seen = this.#changes
      try {
        return await attempt()
      } catch (error) {
        const leftMs = deadline - performance.now()
        const passes = error instanceof CoordinatorError && PASSING.includes(error.code)
        if (!passes || leftMs <= 0 || signal.aborted) throw error
        if (seen === this.#changes) await this.#next(name, leftMs, signal)
      }
    }
  }

  /** Resolves with the next event of a name, when the time is up, or when the signal is aborted. */
  #next(name: string, timeoutMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const waiting = this.#waiting.get(name) ?? new Set()
      const done = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', done)
        waiting.delete(done)
        if (waiting.size === 0 && this.#waiting.get(name) === waiting) this.#waiting.delete(name)
        resolve()
      }
      const timer = setTimeout(done, Math.min(timeoutMs, MAX_WAIT_MS))
      signal.addEventListener('abort', done)
      this.#waiting.set(name, waiting.add(done))
    })
  }

  async #wake(name: string): Promise<void> {
    for (const [at, done] of [...(this.#waiting.get(name) ?? [])].entries()) {
      if (at > 0 && at % WOKEN_A_TURN === 0) await nextTurn()
      done()
    }
  }
}
