import { type BigIntStats, fstat, fsync, write } from 'node:fs'
import { promisify } from 'node:util'
import { createFile, type Descriptor, openFolder } from '@onecopy/sharedarraybuffer-utils'
import type { BytesOf } from './tensors-to-save.ts'

/** One write call: Node writes at most 2 GiB at a time, and progress wants smaller steps. */
const MAX_WRITE_BYTES = 64 * 2 ** 20

const writeAt = promisify(write)
const sync = promisify(fsync)
const stat = promisify<number, { bigint: true }, BigIntStats>(fstat)

/** What writing reports and listens to. */
export interface WriteHooks {
  readonly onBytes: (byteLength: number) => void
  readonly signal: AbortSignal | undefined
}

/**
 * A file that is being written, which was not there before. Not a FileHandle of Node: one that is being opened when its thread is
 * ended stays open.
 */
export class NewFile implements Disposable {
  readonly #file: Descriptor

  /** @throws the system's own error, EEXIST where there is such a file */
  constructor(path: string) {
    this.#file = createFile(path)
  }

  async write({ buffer, byteOffset, byteLength }: BytesOf, hooks?: WriteHooks): Promise<void> {
    for (let done = 0; done < byteLength; ) {
      hooks?.signal?.throwIfAborted()
      const window = new Uint8Array(buffer, byteOffset + done, Math.min(MAX_WRITE_BYTES, byteLength - done))
      const { bytesWritten } = await writeAt(this.#file.number, window)
      done += bytesWritten
      hooks?.onBytes(bytesWritten)
    }
  }

  /** Brings it to the disk. @returns its state behind the last byte */
  async sync(): Promise<BigIntStats> {
    await sync(this.#file.number)
    return await stat(this.#file.number, { bigint: true })
  }

  [Symbol.dispose](): void {
    this.#file.close()
  }
}

/** Makes what was done to the names in a folder survive a power failure. */
export async function syncFolder(path: string): Promise<void> {
  using folder = openFolder(path)
  await sync(folder.number)
}
