import { closeDescriptors, type Descriptor } from '@onecopy/sharedarraybuffer-utils/descriptors'
import { ProtocolError } from './errors.ts'

/** Bytes before each body: u32 body length, u16 number of descriptors, u16 zero; all little-endian. */
export const FRAME_HEADER_BYTES = 8

/** Longest body, in bytes. Directory and weights go as descriptors, so the longest list of shards fits easily. */
export const MAX_FRAME_BYTES: number = 8 * 1024 * 1024

/** Descriptors of one frame: a directory and 4,095 shards. */
export const MAX_DESCRIPTORS_A_FRAME = 4096

/** Longest body of a peer that has not been welcomed, in bytes: a hello, and not a reason to allocate. */
export const MAX_HELLO_BYTES: number = 4 * 1024

/** What a reader takes. */
export interface FrameLimits {
  /** Of a body. */
  readonly maxBytes: number
  /** Of one frame. */
  readonly maxDescriptors: number
}

export const HELLO_LIMITS: FrameLimits = { maxBytes: MAX_HELLO_BYTES, maxDescriptors: 0 }
export const FRAME_LIMITS: FrameLimits = { maxBytes: MAX_FRAME_BYTES, maxDescriptors: MAX_DESCRIPTORS_A_FRAME }

/** A frame that is complete; the descriptors are its receiver's to close. */
export interface Frame {
  readonly body: Uint8Array
  readonly descriptors: readonly Descriptor[]
}

/** Smallest buffer for a frame that comes in pieces, in bytes. */
const MIN_BUFFER_BYTES = 1024

/**
 * A body with its header.
 * @throws ProtocolError FRAME_TOO_LARGE
 */
export function encodeFrame(body: Uint8Array, descriptorCount: number): Buffer {
  checkSize(body.byteLength, descriptorCount, FRAME_LIMITS)
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + body.byteLength)
  frame.writeUInt32LE(body.byteLength, 0)
  frame.writeUInt16LE(descriptorCount, 4)
  frame.writeUInt16LE(0, 6)
  frame.set(body, FRAME_HEADER_BYTES)
  return frame
}

/**
 * Cuts a stream into frames and gives each its descriptors. Those come in order, each with a byte of its own frame: so all
 * are there when the frame is complete, and none is left over when no byte is.
 */
export class FrameReader {
  /** May be changed between frames. */
  limits: FrameLimits
  #buffer: Uint8Array = new Uint8Array(0)
  #begin = 0
  #end = 0
  #descriptors: Descriptor[] = []
  #disposed = false

  constructor(limits: FrameLimits = FRAME_LIMITS) {
    this.limits = limits
  }

  /** Bytes that belong to a frame that is not complete. */
  get pendingBytes(): number {
    return this.#end - this.#begin
  }

  /** Takes over bytes, which must not change any more, and descriptors. Call `next` until it gives null after it. */
  push(bytes: Uint8Array, descriptors: readonly Descriptor[] = []): void {
    if (this.#disposed) {
      closeDescriptors(descriptors)
      return
    }
    for (const descriptor of descriptors) this.#descriptors.push(descriptor)
    if (this.#begin === this.#end) {
      this.#buffer = bytes
      this.#begin = 0
      this.#end = bytes.byteLength
      return
    }
    this.#makeRoom(bytes.byteLength)
    this.#buffer.set(bytes, this.#end)
    this.#end += bytes.byteLength
  }

  /**
   * The next frame, or null until there is one.
   * @throws ProtocolError FRAME_TOO_LARGE, FRAME_INVALID; the reader is disposed then
   */
  next(): Frame | null {
    try {
      return this.#next()
    } catch (error) {
      this.dispose()
      throw error
    }
  }

  /** Closes the descriptors that never found their frame. What is pushed later is closed at once. Idempotent. */
  dispose(): void {
    this.#disposed = true
    this.#buffer = new Uint8Array(0)
    this.#begin = 0
    this.#end = 0
    closeDescriptors(this.#descriptors.splice(0))
  }

  #next(): Frame | null {
    const available = this.#end - this.#begin
    if (available < FRAME_HEADER_BYTES) {
      this.#refuseExcess(available === 0 ? 0 : this.limits.maxDescriptors)
      return null
    }
    const header = new DataView(this.#buffer.buffer, this.#buffer.byteOffset + this.#begin, FRAME_HEADER_BYTES)
    const byteLength = header.getUint32(0, true)
    const descriptorCount = header.getUint16(4, true)
    if (header.getUint16(6, true) !== 0) refuse('the last two bytes of its header are not zero')
    checkSize(byteLength, descriptorCount, this.limits)
    if (available < FRAME_HEADER_BYTES + byteLength) {
      this.#refuseExcess(descriptorCount)
      return null
    }
    if (this.#descriptors.length < descriptorCount) {
      refuse(`${this.#descriptors.length} descriptors came with it, its header says ${descriptorCount}`)
    }
    const begin = this.#begin + FRAME_HEADER_BYTES
    this.#begin = begin + byteLength
    const body = this.#buffer.subarray(begin, this.#begin)
    return { body, descriptors: this.#descriptors.splice(0, descriptorCount) }
  }

  #refuseExcess(allowed: number): void {
    const { length } = this.#descriptors
    if (length > allowed) refuse(`${length} descriptors came, where there can be ${allowed} at most`)
  }

  /** The buffer doubles with what has come, never with what a header claims; frames that were given out keep theirs. */
  #makeRoom(byteLength: number): void {
    if (this.#end + byteLength <= this.#buffer.byteLength) return
    const pending = this.#buffer.subarray(this.#begin, this.#end)
    const grown = new Uint8Array(Math.max(MIN_BUFFER_BYTES, 2 * (pending.byteLength + byteLength)))
    grown.set(pending)
    this.#buffer = grown
    this.#begin = 0
    this.#end = pending.byteLength
  }
}

function checkSize(byteLength: number, descriptorCount: number, { maxBytes, maxDescriptors }: FrameLimits): void {
  if (byteLength > maxBytes) {
    const message = `Frame too large: its body has ${byteLength} bytes, at most ${maxBytes} are allowed here`
    throw new ProtocolError('FRAME_TOO_LARGE', message, { actual: byteLength, limit: maxBytes })
  }
  if (descriptorCount > maxDescriptors) {
    const message = `Frame too large: it has ${descriptorCount} descriptors, at most ${maxDescriptors} are allowed here`
    throw new ProtocolError('FRAME_TOO_LARGE', message, { actual: descriptorCount, limit: maxDescriptors })
  }
}

function refuse(why: string): never {
  throw new ProtocolError('FRAME_INVALID', `Invalid frame: ${why}`)
}
