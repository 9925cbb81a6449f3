import { read } from 'node:fs'
import { promisify } from 'node:util'
import type { Descriptor } from '@onecopy/sharedarraybuffer-utils'

const readInto = promisify(read)

/** Read at a time, in bytes: the signal is looked at in between. */
const PIECE_BYTES = 4 * 2 ** 20

/**
 * A stretch of an open file, in shared memory: what is long goes to another thread without a copy.
 * @throws RangeError where the file ends before; the signal's reason; what `fs.read` throws
 */
export async function readText(
  file: Descriptor,
  position: number,
  byteLength: number,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(new SharedArrayBuffer(byteLength))
  for (let done = 0; done < byteLength; ) {
    signal?.throwIfAborted()
    const length = Math.min(byteLength - done, PIECE_BYTES)
    const { bytesRead } = await readInto(file.number, bytes, done, length, position + done)
    if (bytesRead === 0) throw new RangeError(`file ends at byte ${position + done} of ${position + byteLength}`)
    done += bytesRead
  }
  return bytes
}
