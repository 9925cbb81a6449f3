/** Every code that `SharedMemoryError` can carry; each has its entry in `docs/errors.md`. */
export type SharedMemoryErrorCode =
  | 'ADDON_UNAVAILABLE'
  | 'MAP_FAILED'
  | 'FILE_NOT_REGULAR'
  | 'FILE_CHANGED'
  | 'FILE_READ_FAILED'
  | 'MAPPING_CLOSED'
  | 'RANGE_OUT_OF_BOUNDS'
  | 'RESIDENCY_FAILED'
  | 'LOCK_LIMIT'
  | 'LOCK_REFUSED'
  | 'DESCRIPTOR_CLOSED'
  | 'OUT_OF_MEMORY'
  | 'SEAL_FAILED'
  | 'SOCKET_FAILED'
  | 'LOCK_FAILED'
  | 'LEASE_REFUSED'
  | 'PROCESS_MEMORY_UNREADABLE'
  | 'FORMAT_NOT_CONVERTIBLE'

/** Facts that an error carries beside its message; a key is present only where it is known. */
export interface SharedMemoryErrorFields {
  /** The file concerned. */
  readonly path?: string
  /** The system call that failed, such as `mmap`. */
  readonly syscall?: string
  /** The positive error number of the system. */
  readonly errno?: number
  /** Its name, such as `ENOMEM`. */
  readonly errnoName?: string
  /** What was found, in bytes. */
  readonly actualBytes?: number
  /** What had to be, in bytes. */
  readonly expectedBytes?: number
  readonly cause?: unknown
}

/** A failure of memory, mapping or residency. Match on `code`: classes do not survive threads and processes. */
export class SharedMemoryError extends Error {
  override readonly name = 'SharedMemoryError'
  readonly code: SharedMemoryErrorCode
  readonly path: string | undefined
  readonly syscall: string | undefined
  readonly errno: number | undefined
  readonly errnoName: string | undefined
  readonly actualBytes: number | undefined
  readonly expectedBytes: number | undefined

  constructor(code: SharedMemoryErrorCode, message: string, fields: SharedMemoryErrorFields = {}) {
    super(message, fields.cause === undefined ? undefined : { cause: fields.cause })
    this.code = code
    this.path = fields.path
    this.syscall = fields.syscall
    this.errno = fields.errno
    this.errnoName = fields.errnoName
    this.actualBytes = fields.actualBytes
    this.expectedBytes = fields.expectedBytes
  }
}
