/** Every code that `ClientError` can carry; each has its entry in `docs/errors.md`. */
export const CLIENT_ERROR_CODES = [
  'WEIGHTS_UNAVAILABLE',
  'POOL_DESTROYED',
  'PLACE_UNKNOWN',
  'TASK_NOT_FOUND',
  'THREAD_NOT_STARTED',
  'THREAD_NOT_ENDED',
] as const

export type ClientErrorCode = (typeof CLIENT_ERROR_CODES)[number]

/** Facts that an error carries beside its message. */
export interface ClientErrorFields {
  /** The task module concerned. */
  readonly path?: string
  /** What the caller may have meant, or all that there are. */
  readonly candidates?: readonly string[]
  readonly cause?: unknown
}

/** A failure of a pool or of one of its threads. Match on `code`. */
export class ClientError extends Error {
  override readonly name = 'ClientError'
  readonly code: ClientErrorCode
  readonly path: string | undefined
  readonly candidates: readonly string[] | undefined

  constructor(code: ClientErrorCode, message: string, fields: ClientErrorFields = {}) {
    super(message, fields.cause === undefined ? undefined : { cause: fields.cause })
    this.code = code
    this.path = fields.path
    this.candidates = fields.candidates
  }
}
