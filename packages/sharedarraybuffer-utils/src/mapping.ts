import { types } from 'node:util'
import { addon, fromNative, limitBehind, type NativeMapping, requireAddon, systemFailure } from './addon.ts'
import { Descriptor, openRegularFile } from './descriptor.ts'
import { SharedMemoryError } from './errors.ts'
import { collectLingering } from './lingering.ts'

/** A half-open range of bytes in a file. */
export interface ByteRange {
  readonly begin: number
  readonly end: number // exclusive
}

/** Which file, in which state, a mapping shows. */
export interface FileIdentity {
  readonly device: bigint
  readonly inode: bigint
  readonly byteLength: number
  readonly modifiedNs: bigint // since the epoch
}

/** Where the names of a mapping's parts stand in shared memory: records of a fixed stride, sorted by first byte. */
export interface PartTable {
  readonly buffer: SharedArrayBuffer
  readonly recordsOffset: number
  readonly stride: number
  readonly count: number
  readonly beginField: number // u64 in the record: first byte of the part in the file
  readonly lengthField: number // u64: its byte length
  readonly nameOffsetField: number // u32: offset of its name behind namesOffset
  readonly nameLengthField: number // u32: byte length of its name
  readonly namesOffset: number
}

/** @internal RANGE_OUT_OF_BOUNDS unless the range has whole offsets, in order and inside the file. */
export function requireRange({ begin, end }: ByteRange, path: string, byteLength: number): void {
  const whole = Number.isSafeInteger(begin) && Number.isSafeInteger(end)
  if (whole && 0 <= begin && begin <= end && end <= byteLength) return
  const message = `Range [${begin}, ${end}) lies outside "${path}", which has ${byteLength} bytes`
  throw new SharedMemoryError('RANGE_OUT_OF_BOUNDS', message, { path, actualBytes: byteLength })
}

/** What another thread of this process needs to adopt a mapping; survives structured cloning. */
export interface FileMappingShare {
  readonly backing: 'file' | 'sealed'
  readonly id: number
  readonly path: string
}

/**
 * A file's bytes in this process's address space (`PROT_READ`, `MAP_SHARED`). Opens of the same file in the same state
 * share one mapping across all threads; it is unmapped when every handle is closed and the last buffer over it has
 * been garbage-collected, never earlier.
 */
export class FileMapping implements Disposable {
  /** `sealed` when the bytes are memory that nobody can change any more, else the page cache. */
  readonly backing: 'file' | 'sealed'
  readonly path: string
  readonly byteLength: number
  /** Process-wide number, for `adoptFileMapping` in another thread. */
  readonly id: number
  /** The first address, for finding the mapping in /proc/self/smaps. */
  readonly address: bigint
  readonly identity: FileIdentity
  /** False where the kernel hides residency from users who neither own the file nor may write to it. */
  readonly residencyVisible: boolean
  readonly #handle: object
  #descriptor: Descriptor | null = null
  #closed = false

  /** @internal */
  constructor(native: NativeMapping) {
    this.#handle = native.handle
    this.id = native.id
    this.path = native.path
    this.byteLength = native.byteLength
    this.address = native.address
    this.backing = native.sealed ? 'sealed' : 'file'
    this.residencyVisible = native.residencyVisible
    const { device, inode, modifiedNs, byteLength } = native
    this.identity = { device, inode, byteLength, modifiedNs }
  }

  get closed(): boolean {
    return this.#closed
  }

  /**
   * A SharedArrayBuffer that is exactly the given bytes, without a copy. Writing to it kills the process.
   * @throws SharedMemoryError MAPPING_CLOSED, RANGE_OUT_OF_BOUNDS
   */
  buffer(begin: number, end: number): SharedArrayBuffer {
    const handle = this.handle({ begin, end })
    // Foreign memory of no length would hold the mapping for nothing.
    return begin === end ? new SharedArrayBuffer(0) : requireAddon().createBuffer(handle, begin, end - begin)
  }

  /**
   * A copy of the given bytes at an even address, for 16-bit elements at an odd byte of the file, which V8 cannot read in
   * place. There is one copy for all threads, for as long as any of them has it.
   * @throws SharedMemoryError MAPPING_CLOSED, RANGE_OUT_OF_BOUNDS, MAP_FAILED when there is no memory
   */
  alignedCopy(begin: number, end: number): SharedArrayBuffer {
    const handle = this.handle({ begin, end })
    if (begin === end) return new SharedArrayBuffer(0)
    try {
      return requireAddon().copyAligned(handle, begin, end - begin)
    } catch (error) {
      throw fromNative(error, 'MAP_FAILED', `Cannot copy bytes [${begin}, ${end}) of "${this.path}"`)
    }
  }

  /**
   * The file behind the mapping, for sending it to another process. It stays open from the first time that it is asked for until
   * this handle is closed; a process with hundreds of mappings has not kept it open before.
   * @throws SharedMemoryError FILE_CHANGED when it was not kept, and the file is another one by now; MAP_FAILED when it cannot be
   * opened again, such as for want of descriptors
   */
  get descriptor(): Descriptor {
    const handle = this.handle()
    try {
      this.#descriptor ??= new Descriptor(requireAddon().descriptorOf(handle))
      return this.#descriptor
    } catch (error) {
      throw systemFailure(error)?.errnoName === 'ESTALE'
        ? fromNative(error, 'FILE_CHANGED', `"${this.path}" was replaced or written to since it was mapped`)
        : fromNative(error, 'MAP_FAILED', `Cannot open "${this.path}" again`)
    }
  }

  /**
   * Tells the fault report what the parts of this mapping are called. The first description of a mapping stays.
   * @throws SharedMemoryError MAPPING_CLOSED, RANGE_OUT_OF_BOUNDS when the table does not lie inside its buffer
   */
  describe(table: PartTable): void {
    requireTable(table, this.path)
    const { recordsOffset, stride, count, beginField, lengthField, nameOffsetField, nameLengthField } = table
    requireAddon().describeParts(
      this.handle(),
      table.buffer,
      recordsOffset,
      stride,
      count,
      beginField,
      lengthField,
      nameOffsetField,
      nameLengthField,
      table.namesOffset,
    )
  }

  /** What `adoptMapping` in another thread of this process takes. */
  share(): FileMappingShare {
    return { backing: this.backing, id: this.id, path: this.path }
  }

  /** Gives up this handle; buffers that exist stay readable. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#descriptor?.close()
    requireAddon().closeMapping(this.#handle)
    if (this.backing === 'sealed') collectLingering()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /** @internal The native handle, after checking that it is open and that the range lies inside. */
  handle(range: ByteRange = { begin: 0, end: 0 }): object {
    if (this.#closed) {
      throw new SharedMemoryError('MAPPING_CLOSED', `Mapping of "${this.path}" was closed`, { path: this.path })
    }
    requireRange(range, this.path, this.byteLength)
    return this.#handle
  }
}

/** A signal handler reads the table without a check of its own. */
function requireTable(table: PartTable, path: string): void {
  const { buffer, recordsOffset, stride, count, beginField, lengthField, nameOffsetField, nameLengthField } = table
  const { namesOffset } = table
  const recordBytes = Math.max(beginField + 8, lengthField + 8, nameOffsetField + 4, nameLengthField + 4)
  const numbers = [recordsOffset, stride, count, beginField, lengthField, nameOffsetField, nameLengthField, namesOffset]
  if (
    types.isSharedArrayBuffer(buffer) &&
    numbers.every((number) => Number.isSafeInteger(number) && number >= 0) &&
    recordBytes <= stride &&
    recordsOffset + count * stride <= buffer.byteLength &&
    namesOffset <= buffer.byteLength
  )
    return
  const message = `The table of the parts of "${path}" reaches beyond its buffer: [${numbers.join(', ')}]`
  throw new SharedMemoryError('RANGE_OUT_OF_BOUNDS', message, { path })
}

/** Options of `mapFile` and `mapDescriptor`. */
export interface MapOptions {
  /** The length that the file must have, in bytes; a different one is FILE_CHANGED. @default whatever it has */
  readonly expectedByteLength?: number
}

/**
 * Maps a file by its path.
 * @throws SharedMemoryError ADDON_UNAVAILABLE, FILE_NOT_REGULAR, FILE_CHANGED, MAP_FAILED
 */
export function mapFile(path: string, options: MapOptions = {}): FileMapping {
  using file = openRegularFile(path)
  return mapDescriptor(file, path, options)
}

/**
 * Maps an open file, which stays the caller's and may be closed afterwards.
 * @param path how messages name the file
 * @throws SharedMemoryError ADDON_UNAVAILABLE, FILE_NOT_REGULAR, FILE_CHANGED, MAP_FAILED, RANGE_OUT_OF_BOUNDS
 */
export function mapDescriptor(file: Descriptor, path: string, options: MapOptions = {}): FileMapping {
  const native = requireAddon()
  const expected = options.expectedByteLength ?? -1
  if (options.expectedByteLength !== undefined && !(Number.isSafeInteger(expected) && expected >= 0)) {
    const message = `Cannot map "${path}": expectedByteLength is ${expected}; it must be a whole number, 0 or more`
    throw new SharedMemoryError('RANGE_OUT_OF_BOUNDS', message, { path })
  }
  try {
    return new FileMapping(native.mapDescriptor(file.handle, path, expected))
  } catch (error) {
    const failure = systemFailure(error)
    if (failure?.syscall === 'fstat' && failure.actualBytes !== undefined) {
      const message = `"${path}" changed while it was opened: it has ${failure.actualBytes} bytes and had ${expected}`
      throw new SharedMemoryError('FILE_CHANGED', message, { ...failure, expectedBytes: expected, cause: error })
    }
    if (failure?.syscall === 'fstat' && failure.errnoName === 'ENODEV') {
      const message = `"${path}" must be a regular file, and this descriptor is of something else`
      throw new SharedMemoryError('FILE_NOT_REGULAR', message, { path, cause: error })
    }
    if (failure?.syscall === 'mmap' && failure.errnoName === 'ENODEV') {
      const message = `Cannot map "${path}": its file system cannot map files (mmap failed with ENODEV); backing 'sealed' or 'heap' reads it into memory instead`
      throw new SharedMemoryError('MAP_FAILED', message, { ...failure, path, cause: error })
    }
    if (failure?.syscall === 'mmap' && failure.errnoName === 'ENOMEM') {
      const size = expected < 0 ? '' : ` (${expected} bytes)`
      const message = `Cannot map "${path}"${size}: ${limitBehind(error)}`
      throw new SharedMemoryError('MAP_FAILED', message, { ...failure, cause: error })
    }
    throw fromNative(error, 'MAP_FAILED', `Cannot map "${path}"`)
  }
}

/**
 * A further handle to a mapping that another thread of this process shared.
 * @throws SharedMemoryError MAPPING_CLOSED when it has been closed since
 */
export function adoptFileMapping(share: FileMappingShare): FileMapping {
  const native = requireAddon().adoptMapping(share.id)
  if (native === null) {
    const message = `Mapping of "${share.path}" was closed before this thread could adopt it`
    throw new SharedMemoryError('MAPPING_CLOSED', message, { path: share.path })
  }
  return new FileMapping(native)
}

/** How many files are mapped in this process, by all threads; 0 without the addon. */
export function mappingCount(): number {
  return addon?.mappingCount() ?? 0
}
