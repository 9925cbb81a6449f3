import { CoordinatorError, MAX_WAIT_MS } from '@onecopy/protocol'

/** How long somebody waits for a coordinator's answer. */
export interface Patience {
  /** Gives up: the promise rejects with the signal's reason, and what is answered later is given back. */
  readonly signal?: AbortSignal
  /**
   * How long to wait for the answer, in milliseconds. A coordinator that gives no sign of life for 10 s is an error
   * (COORDINATOR_TIMEOUT) whatever this is.
   */
  readonly timeoutMs?: number
}

/**
 * Calls `ask` with a signal that is aborted when the caller's is, and when the time is up.
 * @param what is asked, as the message says it
 * @throws CoordinatorError COORDINATOR_TIMEOUT; the signal's reason; what `ask` throws
 */
export async function withinLimit<Result>(
  what: string,
  { signal, timeoutMs }: Patience,
  ask: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  signal?.throwIfAborted()
  const stop = new AbortController()
  const abort = (): void => stop.abort(signal?.reason)
  const expire = (): void => {
    const message = `The coordinator did not answer within ${timeoutMs} ms: ${what}`
    stop.abort(new CoordinatorError('COORDINATOR_TIMEOUT', message))
  }
  signal?.addEventListener('abort', abort)
  const timer = timeoutMs === undefined ? undefined : setTimeout(expire, Math.min(timeoutMs, MAX_WAIT_MS))
  try {
    return await ask(stop.signal)
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
  }
}
