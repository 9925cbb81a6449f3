/** Longer than this the event loop is not held by one who takes turns, in milliseconds. */
const SLICE_MS = 5

/**
 * For loops of many small steps: waits now and then until the event loop has gone round, so that nobody else stands still.
 */
export function breather(): () => Promise<void> {
  let since = performance.now()
  return async () => {
    if (performance.now() - since < SLICE_MS) return
    await new Promise((resolve) => setImmediate(resolve))
    since = performance.now()
  }
}
