import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** A folder that is gone when this process ends, also when a signal ends it (other than SIGKILL). */
export class TemporaryFolder {
  readonly path: string
  readonly #beforeRemoval: (() => void)[] = []
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    this.remove()
    // The handlers are gone by now, so this ends the process as if there had been none.
    process.kill(process.pid, signal)
  }
  readonly #onExit = (): void => this.remove()

  constructor(prefix: string) {
    this.path = mkdtempSync(join(tmpdir(), prefix))
    for (const signal of SIGNALS) process.on(signal, this.#onSignal)
    process.on('exit', this.#onExit)
  }

  /** Something to be done first whenever the folder is removed, such as ending a process that writes into it. */
  beforeRemoval(action: () => void): void {
    this.#beforeRemoval.push(action)
  }

  /** Leaves the folder where it is. */
  keep(): void {
    for (const signal of SIGNALS) process.off(signal, this.#onSignal)
    process.off('exit', this.#onExit)
  }

  /** Idempotent. */
  remove(): void {
    this.keep()
    for (const action of this.#beforeRemoval.splice(0)) action()
    rmSync(this.path, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 })
  }
}
