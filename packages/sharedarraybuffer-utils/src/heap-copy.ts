import { fstatSync, read } from 'node:fs'
import { promisify } from 'node:util'
import type { Descriptor } from './descriptor.ts'
import { SharedMemoryError } from './errors.ts'
import { type ByteRange, requireRange } from './mapping.ts'

const readInto = promisify(read)

/** One read call: large enough for full speed, small enough for a progress report and Node 20's array limits. */
const MAX_READ_BYTES = 64 * 2 ** 20

/** What another thread of this process needs to adopt a heap copy; survives structured cloning without copying. */
export interface HeapCopyShare {
  readonly backing: 'heap'
  readonly path: string
  readonly byteLength: number
  readonly parts: ReadonlyMap<number, SharedArrayBuffer>
}

/**
 * A file's bytes in ordinary SharedArrayBuffers, one for each part, where files cannot be mapped. Still one copy for all
 * threads of this process, but not shared with other processes, and writable by mistake.
 */
export class HeapCopy implements Disposable {
  readonly backing = 'heap'
  readonly path: string
  readonly byteLength: number // of the file; the parts may be less
  readonly residencyVisible = true
  #parts: ReadonlyMap<number, SharedArrayBuffer>
  #closed = false

  /** @internal */
  constructor(path: string, byteLength: number, parts: ReadonlyMap<number, SharedArrayBuffer>) {
    this.path = path
    this.byteLength = byteLength
    this.#parts = new Map(parts)
  }

  get closed(): boolean {
    return this.#closed
  }

  /**
   * The part that is exactly these bytes, or a copy of them when they lie inside one.
   * @throws SharedMemoryError MAPPING_CLOSED, RANGE_OUT_OF_BOUNDS
   */
  buffer(begin: number, end: number): SharedArrayBuffer {
    this.#requireOpen()
    requireRange({ begin, end }, this.path, this.byteLength)
    if (begin === end) return new SharedArrayBuffer(0)
    const whole = this.#parts.get(begin)
    if (whole?.byteLength === end - begin) return whole
    for (const [partBegin, part] of this.#parts) {
      if (partBegin <= begin && end <= partBegin + part.byteLength)
        return part.slice(begin - partBegin, end - partBegin)
    }
    const message = `Range [${begin}, ${end}) of "${this.path}" was not read`
    throw new SharedMemoryError('RANGE_OUT_OF_BOUNDS', message, { path: this.path, actualBytes: this.byteLength })
  }

  /**
   * What another thread of this process makes its own `HeapCopy` from.
   * @throws SharedMemoryError MAPPING_CLOSED
   */
  share(): HeapCopyShare {
    this.#requireOpen()
    return { backing: 'heap', path: this.path, byteLength: this.byteLength, parts: this.#parts }
  }

  /** Forgets the parts; buffers that exist, and copies in other threads, stay readable. Idempotent. */
  close(): void {
    this.#closed = true
    this.#parts = new Map()
  }

  #requireOpen(): void {
    if (!this.#closed) return
    throw new SharedMemoryError('MAPPING_CLOSED', `Copy of "${this.path}" was closed`, { path: this.path })
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** Options of `copyToHeap`. */
export interface HeapCopyOptions {
  readonly onProgress?: (readBytes: number) => void
  readonly signal?: AbortSignal
}

/**
 * Reads parts of an open file into SharedArrayBuffers.
 * @param parts the ranges, in bytes of the file; each becomes one buffer, save that of two with the same beginning only
 * the longer is kept
 * @throws SharedMemoryError FILE_CHANGED when the file ends before a part does, FILE_READ_FAILED, RANGE_OUT_OF_BOUNDS
 */
export async function copyToHeap(
  file: Descriptor,
  path: string,
  byteLength: number,
  parts: Iterable<ByteRange>,
  options: HeapCopyOptions = {},
): Promise<HeapCopy> {
  const buffers = new Map<number, SharedArrayBuffer>()
  let readBytes = 0
  options.signal?.throwIfAborted()
  for (const part of parts) {
    requireRange(part, path, byteLength)
    const { begin, end } = part
    if (end - begin <= (buffers.get(begin)?.byteLength ?? 0)) continue
    const buffer = allocate(end - begin, path)
    for (let done = 0; done < buffer.byteLength; ) {
      options.signal?.throwIfAborted()
      const window = new Uint8Array(buffer, done, Math.min(MAX_READ_BYTES, buffer.byteLength - done))
      const { bytesRead } = await readInto(file.number, window, 0, window.byteLength, begin + done).catch((cause) => {
        throw new SharedMemoryError('FILE_READ_FAILED', `Cannot read "${path}": ${cause.message}`, { path, cause })
      })
      if (bytesRead === 0) {
        const actualBytes = fstatSync(file.number).size
        const message = `"${path}" changed while it was read: it has ${actualBytes} bytes and had ${byteLength}`
        throw new SharedMemoryError('FILE_CHANGED', message, { path, actualBytes, expectedBytes: byteLength })
      }
      done += bytesRead
      readBytes += bytesRead
      options.onProgress?.(readBytes)
    }
    buffers.set(begin, buffer)
  }
  return new HeapCopy(path, byteLength, buffers)
}

function allocate(byteLength: number, path: string): SharedArrayBuffer {
  try {
    return new SharedArrayBuffer(byteLength)
  } catch (cause) {
    const message = `Cannot read "${path}": no memory for a part of ${byteLength} bytes`
    throw new SharedMemoryError('FILE_READ_FAILED', message, { path, expectedBytes: byteLength, cause })
  }
}
