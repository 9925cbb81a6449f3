import { CommandError } from '../../errors.ts'

/** Starting a thousand threads on one core takes less. */
const PATIENCE_MS = 120_000

/**
 * Waits in a thread until all of them are here: a pool gives the next task to whoever is free, and a thread that waits
 * is not, so each gets one task of every round.
 * @param arrivals one counter for each round, shared, zero at first
 * @throws CommandError DEMO_THREADS_MISSING when not all have come in two minutes
 */
export function meet(arrivals: Int32Array<SharedArrayBuffer>, round: number, threadCount: number): void {
  const deadline = performance.now() + PATIENCE_MS
  if (Atomics.add(arrivals, round, 1) + 1 === threadCount) Atomics.notify(arrivals, round)
  for (let here = Atomics.load(arrivals, round); here < threadCount; here = Atomics.load(arrivals, round)) {
    Atomics.wait(arrivals, round, here, Math.max(0, deadline - performance.now()))
    if (performance.now() < deadline) continue
    throw new CommandError('DEMO_THREADS_MISSING', `Only ${here} of ${threadCount} threads came to work`)
  }
}
