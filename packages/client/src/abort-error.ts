/** What a task rejects with when its signal aborts: as Node's own functions do. */
export class AbortError extends Error {
  override readonly name = 'AbortError'
  readonly code = 'ABORT_ERR'

  constructor(signal: AbortSignal) {
    super('The task has been aborted', { cause: signal.reason })
  }
}
