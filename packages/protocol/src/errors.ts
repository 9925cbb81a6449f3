/** Every code that `ProtocolError` can carry; each has its entry in `docs/errors.md`. */
export const PROTOCOL_ERROR_CODES = [
  'PROTOCOL_VERSION_MISMATCH',
  'FRAME_TOO_LARGE',
  'FRAME_INVALID',
  'MESSAGE_INVALID',
  'CONNECTION_CLOSED',
  'CONNECTION_OVERFLOW',
] as const

export type ProtocolErrorCode = (typeof PROTOCOL_ERROR_CODES)[number]

/** Every code that `CoordinatorError` can carry; each has its entry in `docs/errors.md`. */
export const COORDINATOR_ERROR_CODES = [
  'CHECKPOINT_UNKNOWN',
  'VERSION_UNKNOWN',
  'VERSION_NOT_READY',
  'LOAD_FAILED',
  'BUDGET_EXCEEDED',
  'COORDINATOR_CLOSING',
  'COORDINATOR_RUNNING',
  'SOCKET_UNSAFE',
  'LEDGER_UNUSABLE',
  'PERMISSION_DENIED',
  'CLIENT_REFUSED',
  'RESUME_REFUSED',
  'RECEIVED_INVALID',
  'SELECTION_REFUSED',
  'NAME_INVALID',
  'PUBLISH_CANCELLED',
  'COORDINATOR_TIMEOUT',
  'COORDINATOR_UNREACHABLE',
] as const

export type CoordinatorErrorCode = (typeof COORDINATOR_ERROR_CODES)[number]

/** The versions of the protocol that one side speaks; both ends included. */
export interface ProtocolRange {
  readonly oldest: number
  readonly newest: number
}

/** Facts that an error carries beside its message; a key is present only where it is known. */
export interface ProtocolErrorFields {
  /** Where in the message, such as `shards[3].name`. */
  readonly field?: string
  /** What was found: bytes, or descriptors where the message says so. */
  readonly actual?: number
  /** What is allowed at most, in the same unit. */
  readonly limit?: number
  /** What the coordinator speaks. */
  readonly coordinatorProtocols?: ProtocolRange
  /** What the client speaks. */
  readonly clientProtocols?: ProtocolRange
  readonly cause?: unknown
}

/** A peer that does not keep to the protocol, or a connection that ended. Match on `code`. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'
  readonly code: ProtocolErrorCode
  readonly field: string | undefined
  readonly actual: number | undefined
  readonly limit: number | undefined
  readonly coordinatorProtocols: ProtocolRange | undefined
  readonly clientProtocols: ProtocolRange | undefined

  constructor(code: ProtocolErrorCode, message: string, fields: ProtocolErrorFields = {}) {
    super(message, fields.cause === undefined ? undefined : { cause: fields.cause })
    this.code = code
    this.field = fields.field
    this.actual = fields.actual
    this.limit = fields.limit
    this.coordinatorProtocols = fields.coordinatorProtocols
    this.clientProtocols = fields.clientProtocols
  }
}

/** A version that holds memory which counts against a coordinator's budget. */
export interface MemoryHolder {
  readonly checkpoint: string
  readonly version: number
  readonly heldBytes: number
  /** Number of leases on it; 0 would have been evicted unless it is pinned. */
  readonly leases: number
  readonly pinned: boolean
}

/** Facts that an error carries beside its message; a key is present only where it is known. */
export interface CoordinatorErrorFields {
  /** Name of the checkpoint concerned. */
  readonly checkpoint?: string
  readonly version?: number
  /** Names that the caller may have meant, or all that are known. */
  readonly candidates?: readonly string[]
  /** What holds the memory that did not suffice. */
  readonly holders?: readonly MemoryHolder[]
  /** The socket, folder or file concerned. */
  readonly path?: string
  /** The code of the failure behind this one. @default the cause's own `code` */
  readonly causeCode?: string
  readonly cause?: unknown
}

/** What a coordinator answers when it cannot do what was asked, or why there is none. Match on `code`. */
export class CoordinatorError extends Error {
  override readonly name = 'CoordinatorError'
  readonly code: CoordinatorErrorCode
  readonly checkpoint: string | undefined
  readonly version: number | undefined
  readonly candidates: readonly string[] | undefined
  readonly holders: readonly MemoryHolder[] | undefined
  readonly path: string | undefined
  readonly causeCode: string | undefined

  constructor(code: CoordinatorErrorCode, message: string, fields: CoordinatorErrorFields = {}) {
    super(message, fields.cause === undefined ? undefined : { cause: fields.cause })
    this.code = code
    this.checkpoint = fields.checkpoint
    this.version = fields.version
    this.candidates = fields.candidates
    this.holders = fields.holders
    this.path = fields.path
    this.causeCode = fields.causeCode ?? codeOf(fields.cause)
  }
}

/** The `code` of whatever was thrown, where it has one that is a string. */
export function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null | undefined)?.code
  return typeof code === 'string' ? code : undefined
}
