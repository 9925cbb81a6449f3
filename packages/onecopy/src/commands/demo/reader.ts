import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { CommandError } from '../../errors.ts'
import type { ReadResult } from './read-everything.ts'
import type { ReaderMessage, ReaderTask } from './reader-process.ts'

type Attached = Extract<ReaderMessage, { type: 'attached' }>

/** One further process of a demo, which attaches to the coordinator and reads what this process reads. */
export class Reader {
  readonly #child: ChildProcess
  readonly #failed: Promise<never>
  readonly #onProgress: (readBytes: number) => void

  /** @param onProgress is told of bytes that were read since it was told last */
  constructor(socket: string, checkpoint: string, onProgress: (readBytes: number) => void) {
    const program = fileURLToPath(new URL('./reader-process.js', import.meta.url))
    const env = { ...process.env, ONECOPY_SOCKET: socket, ONECOPY_CHECKPOINT: checkpoint }
    this.#onProgress = onProgress
    this.#child = fork(program, { execArgv: [], env })
    this.#failed = new Promise((_, reject) => {
      const fail = (reason: string, cause?: unknown): void =>
        reject(new CommandError('DEMO_PROCESS_FAILED', `A process of the demo failed: ${reason}`, { cause }))
      this.#child.on('message', (message: ReaderMessage) => {
        if (message.type === 'failed') fail(message.message)
      })
      this.#child.on('error', (cause) => fail(cause.message, cause))
      this.#child.on('exit', (code, signal) => fail(`it ended with ${signal ?? `exit code ${code}`}`))
    })
    // It may end at any time, also when nobody waits for it.
    this.#failed.catch(() => {})
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** Resolves when it has all weights. */
  attached(): Promise<Attached> {
    return this.#answer('attached')
  }

  /** Lets it read everything; it stays as it is afterwards, so that its memory can be looked at. */
  async read(task: ReaderTask): Promise<ReadResult> {
    const answer = this.#answer('read')
    this.#child.send(task)
    return (await answer).result
  }

  end(): void {
    this.#child.kill('SIGKILL')
  }

  #answer<Type extends ReaderMessage['type']>(type: Type): Promise<Extract<ReaderMessage, { type: Type }>> {
    const answered = new Promise<Extract<ReaderMessage, { type: Type }>>((resolve) => {
      const listen = (message: ReaderMessage): void => {
        if (message.type === 'progress') this.#onProgress(message.readBytes)
        if (message.type !== type) return
        this.#child.off('message', listen)
        resolve(message as Extract<ReaderMessage, { type: Type }>)
      }
      this.#child.on('message', listen)
    })
    return Promise.race([answered, this.#failed])
  }
}
