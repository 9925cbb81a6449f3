import type { Worker } from 'node:worker_threads'
import { CheckpointError, messageOf, systemCode } from './errors.ts'
import { type StrictAnswer, type StrictQuestion, unpackError } from './strict-messages.ts'
import { type HeaderText, type IndexText, StrictParser } from './strict-parser.ts'

/** What is parsed on the calling thread, in bytes of text: a few milliseconds, less than a thread takes to start. */
const MAX_BYTES_AT_ONCE = 128 * 1024

// Node 20 runs no TypeScript in a thread, so that tests of the sources run what was built.
const built = import.meta.url.endsWith('.ts') ? '../dist/' : './'
const THREAD = new URL(`${built}strict-thread.cjs`, import.meta.url)

/**
 * The strict parsers, in a thread of their own when there is much to parse: the event loop of a process that serves others
 * must not stand still for a header of 100 MB.
 */
export class StrictParsing implements Disposable {
  readonly #signal: AbortSignal | undefined
  readonly #here = new StrictParser()
  #thread: Worker | null = null

  constructor(signal?: AbortSignal) {
    this.#signal = signal
  }

  /** As `StrictParser.readIndex`; also the signal's reason. */
  async readIndex(index: IndexText): Promise<readonly string[]> {
    if (index.json.byteLength <= MAX_BYTES_AT_ONCE) return this.#here.readIndex(index)
    return this.#ask<readonly string[]>({ method: 'readIndex', args: [index] }, index.path)
  }

  /** As `StrictParser.layOut`; also the signal's reason. */
  async layOut(index: IndexText | null, headers: readonly HeaderText[], label: string): Promise<SharedArrayBuffer> {
    const byteLength = headers.reduce((sum, { json }) => sum + json.byteLength, index?.json.byteLength ?? 0)
    if (byteLength <= MAX_BYTES_AT_ONCE) return this.#here.layOut(index, headers, label)
    return this.#ask<SharedArrayBuffer>({ method: 'layOut', args: [index, headers, label] }, label)
  }

  [Symbol.dispose](): void {
    void this.#thread?.terminate()
  }

  #start(): Worker {
    // Asked for here: it takes Node a millisecond, and most processes never come here.
    const { Worker } = process.getBuiltinModule('node:worker_threads')
    const thread = new Worker(THREAD, { name: 'onecopy-strict-parser' })
    // Whoever asks listens too; with nobody listening an error would end the process.
    thread.on('error', () => {})
    thread.once('exit', () => {
      this.#thread = null
    })
    return thread
  }

  async #ask<Value>(question: StrictQuestion, label: string): Promise<Value> {
    this.#signal?.throwIfAborted()
    this.#thread ??= this.#start()
    const thread = this.#thread
    return new Promise<Value>((resolve, reject) => {
      const onMessage = (answer: StrictAnswer): void => {
        if ('error' in answer) settle(() => reject(unpackError(answer.error)))
        else settle(() => resolve(answer.value as Value))
      }
      const onError = (cause: unknown): void => settle(() => reject(failure(cause, label)))
      const onExit = (code: number): void => onError(new Error(`it ended early, with exit code ${code}`))
      const onAbort = (): void => settle(() => reject(this.#signal!.reason))
      const settle = (act: () => void): void => {
        thread.off('message', onMessage).off('error', onError).off('exit', onExit)
        this.#signal?.removeEventListener('abort', onAbort)
        act()
      }
      thread.on('message', onMessage).on('error', onError).on('exit', onExit)
      this.#signal?.addEventListener('abort', onAbort)
      thread.postMessage(question)
    })
  }
}

/** A thread that ended without an answer. */
function failure(cause: unknown, label: string): CheckpointError {
  if (systemCode(cause) === 'ERR_WORKER_OUT_OF_MEMORY') {
    const message = `The headers of "${label}" take more memory than a thread may have`
    return new CheckpointError('CHECKPOINT_TOO_LARGE', message, { path: label, cause })
  }
  const message = `The headers of "${label}" cannot be parsed in a thread: ${messageOf(cause)}`
  return new CheckpointError('SHARD_UNREADABLE', message, { path: label, cause })
}
