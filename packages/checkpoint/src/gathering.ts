import type { Worker } from 'node:worker_threads'
import { adoptFileMapping, type FileMapping } from '@onecopy/sharedarraybuffer-utils'
import { type Arena, readArena } from './arena.ts'
import type { FoundArenas } from './arena-set.ts'
import { CheckpointError, messageOf, systemCode } from './errors.ts'
import type { GatheringAnswer, GatheringData, GatheringQuestion } from './gathering-messages.ts'
import type { ShardMemory } from './shard-memory.ts'
import { unpackError } from './strict-messages.ts'

/** How long a thread waits for the next selection, in milliseconds: longer than the processes of one service take to start. */
const IDLE_MS = 5000

// Node 20 runs no TypeScript in a thread, so that tests of the sources run what was built.
const built = import.meta.url.endsWith('.ts') ? '../dist/' : './'
const THREAD = new URL(`${built}gathering-thread.cjs`, import.meta.url)

/**
 * Gathers for others in a thread of its own: a selection from a client is a few megabytes of text that asks for seconds of work, and
 * the event loop of a process that serves others must not stand still for it.
 */
export class Gathering {
  readonly #label: string
  readonly #directory: SharedArrayBuffer
  readonly #memory: readonly ShardMemory[]
  #thread: Worker | null = null
  #idle: NodeJS.Timeout | undefined
  #giveUp: (error: Error) => void = () => {}

  constructor(label: string, directory: SharedArrayBuffer, memory: readonly ShardMemory[]) {
    this.#label = label
    this.#directory = directory
    this.#memory = memory
  }

  /**
   * The arenas that a selection needs; what is in none of those that are held is gathered. One call at a time.
   * @param selection as JSON
   * @param reserve may throw, when there is no room
   * @throws as `Checkpoint.select` does; SyntaxError; what `reserve` throws; the signal's reason
   */
  async find(
    selection: string,
    held: readonly Arena[],
    reserve: (byteLength: number) => void,
    signal?: AbortSignal,
  ): Promise<FoundArenas> {
    clearTimeout(this.#idle)
    this.#thread ??= this.#start()
    const thread = this.#thread
    const tell = (question: GatheringQuestion): void => thread.postMessage(question)
    thread.ref()
    const onAbort = (): void => tell({ type: 'abort' })
    signal?.addEventListener('abort', onAbort)
    try {
      const arenas = held.map(({ memory }) => (memory as FileMapping).share())
      const answered = this.#answer(thread, reserve)
      tell({ type: 'find', selection, arenas })
      const { used, made } = await answered
      const taken = made === null ? null : adoptFileMapping(made)
      if (taken !== null) tell({ type: 'taken' })
      return { used: used.map((place) => held[place]!), made: taken && readArena(taken) }
    } catch (error) {
      throw signal?.aborted ? signal.reason : error
    } finally {
      signal?.removeEventListener('abort', onAbort)
      thread.unref()
      this.#idle = setTimeout(() => this.#end(), IDLE_MS).unref()
    }
  }

  /** Gives up what is being gathered. Idempotent. */
  close(): void {
    this.#end()
    this.#giveUp(new Error('the checkpoint was closed'))
  }

  #answer(thread: Worker, reserve: (byteLength: number) => void): Promise<GatheringAnswer & { type: 'found' }> {
    return new Promise((resolve, reject) => {
      let refusal: unknown
      const onMessage = (answer: GatheringAnswer): void => {
        if (answer.type === 'reserve') {
          try {
            reserve(answer.byteLength)
          } catch (error) {
            refusal = error
          }
          thread.postMessage({ type: 'reserved', granted: refusal === undefined } satisfies GatheringQuestion)
        } else if (answer.type === 'found') settle(() => resolve(answer))
        else settle(() => reject(refusal ?? unpackError(answer.error)))
      }
      const onError = (cause: unknown): void => settle(() => reject(failure(cause, this.#label)))
      const onExit = (code: number): void => onError(new Error(`it ended early, with exit code ${code}`))
      const settle = (act: () => void): void => {
        thread.off('message', onMessage).off('error', onError).off('exit', onExit)
        this.#giveUp = () => {}
        act()
      }
      this.#giveUp = (error) => settle(() => reject(error))
      thread.on('message', onMessage).on('error', onError).on('exit', onExit)
    })
  }

  #start(): Worker {
    const workerData: GatheringData = {
      label: this.#label,
      directory: this.#directory,
      shards: this.#memory.map((shard) => shard.share()),
    }
    // Asked for here: it takes Node a millisecond, and most processes never come here.
    const { Worker } = process.getBuiltinModule('node:worker_threads')
    const thread = new Worker(THREAD, { name: 'onecopy-gathering', workerData })
    // Whoever asks listens too; with nobody listening an error would end the process.
    thread.on('error', () => {})
    thread.once('exit', () => {
      if (this.#thread === thread) this.#thread = null
    })
    return thread
  }

  #end(): void {
    clearTimeout(this.#idle)
    this.#thread?.postMessage({ type: 'end' } satisfies GatheringQuestion)
    this.#thread = null
  }
}

/** A thread that ended without an answer. */
function failure(cause: unknown, label: string): CheckpointError {
  const memory = systemCode(cause) === 'ERR_WORKER_OUT_OF_MEMORY'
  const reason = memory ? 'it takes more memory than a thread may have' : messageOf(cause)
  const message = `A part of "${label}" cannot be gathered in a thread: ${reason}`
  return new CheckpointError(memory ? 'CHECKPOINT_TOO_LARGE' : 'SHARD_UNREADABLE', message, { path: label, cause })
}
