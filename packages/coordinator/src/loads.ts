import { unlessAborted } from '@onecopy/protocol'
import PQueue from 'p-queue'
import type { Version } from './version.ts'

/** Loads that take no memory for good map files and read headers: many of them cost nothing. */
const MAPPING_AT_A_TIME = 8

/** Loads that take memory read with several threads already: large ones go one by one, small ones never wait for those. */
const LARGE_BYTES = 256 * 2 ** 20
const SMALL_AT_A_TIME = 2
const LARGE_AT_A_TIME = 1

/** Ends a load of what has come in another way. */
const SPARED = Symbol('spared')

interface Load {
  readonly done: Promise<void>
  readonly stop: AbortController
  waiting: number
}

/** What is being loaded: each version once for all who wait for it, and no longer than somebody does. */
export class Loads {
  readonly #mapping = new PQueue({ concurrency: MAPPING_AT_A_TIME })
  readonly #small = new PQueue({ concurrency: SMALL_AT_A_TIME })
  readonly #large = new PQueue({ concurrency: LARGE_AT_A_TIME })
  readonly #running = new Map<Version, Load>()

  get versions(): Iterable<Version> {
    return this.#running.keys()
  }

  /**
   * Resolves when the version is loaded.
   * @param heldBytes of memory that it takes for good
   * @param run loads it; called when it is its turn, unless somebody else's call for the same version has begun
   * @throws what `run` throws; the signal's reason
   */
  async load(
    version: Version,
    { heldBytes, priority }: { readonly heldBytes: number; readonly priority: number },
    signal: AbortSignal,
    run: (signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    let load = this.#running.get(version)
    if (load === undefined) {
      const stop = new AbortController()
      const spared = new Promise<void>((resolve) => {
        stop.signal.addEventListener('abort', () => stop.signal.reason === SPARED && resolve())
      })
      const read = this.#laneFor(heldBytes).add(() => run(stop.signal), { priority }) as Promise<void>
      const done = Promise.race([read, spared])
      load = { done, stop, waiting: 0 }
      this.#running.set(version, load)
      done.catch(() => {}).then(() => this.#forget(version, load!))
    }
    load.waiting++
    try {
      await unlessAborted(load.done, signal)
    } finally {
      load.waiting--
      if (load.waiting === 0) {
        this.#forget(version, load)
        load.stop.abort(signal.reason)
      }
    }
  }

  /** The version has its memory from somewhere else: what reads it ends, and those who wait have what they want. */
  spare(version: Version): void {
    this.#running.get(version)?.stop.abort(SPARED)
  }

  /** Ends all of them. */
  close(reason: Error): void {
    for (const { stop } of this.#running.values()) stop.abort(reason)
  }

  #laneFor(heldBytes: number): PQueue {
    if (heldBytes === 0) return this.#mapping
    return heldBytes < LARGE_BYTES ? this.#small : this.#large
  }

  #forget(version: Version, load: Load): void {
    if (this.#running.get(version) === load) this.#running.delete(version)
  }
}
