/** Every code that `ClientError` can carry; each has its entry in `docs/errors.md`. */
export type ClientErrorCode = 'WEIGHTS_UNAVAILABLE' | 'POOL_DESTROYED' | 'PLACE_UNKNOWN'

/** A failure of a pool or of one of its threads. Match on `code`: classes do not survive threads. */
export class ClientError extends Error {
  override readonly name = 'ClientError'
  readonly code: ClientErrorCode

  constructor(code: ClientErrorCode, message: string) {
    super(message)
    this.code = code
  }
}
