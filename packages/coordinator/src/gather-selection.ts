import type { ArenaHold } from '@onecopy/checkpoint'
import { CoordinatorError } from '@onecopy/protocol'
import type { Budget } from './budget.ts'
import type { Version } from './version.ts'

/** Of a client that reads everything where it lies. */
export const NO_ARENAS: ArenaHold = { arenas: [], release: () => {} }

/**
 * The arenas that a client's selection needs, gathered as far as nobody holds them yet. The caller has a lease on the
 * version, and keeps it for as long as it holds the arenas.
 * @param selection as JSON, from a client
 * @throws CoordinatorError SELECTION_REFUSED, BUDGET_EXCEEDED
 */
export async function gatherSelection(
  version: Version,
  selection: string,
  budget: Budget,
  signal: AbortSignal,
): Promise<ArenaHold> {
  const { checkpoint, number } = version
  const reserve = (byteLength: number): (() => void) =>
    budget.reserve(byteLength, `An arena of checkpoint "${checkpoint}"`)
  try {
    return await version.memory!.checkpoint.holdArenas(selection, { reserve, signal })
  } catch (cause) {
    if (cause instanceof CoordinatorError || signal.aborted) throw cause
    const reason = cause instanceof Error ? cause.message : String(cause)
    const message = `Cannot give the selected part of checkpoint "${checkpoint}": ${reason}`
    throw new CoordinatorError('SELECTION_REFUSED', message, { checkpoint, version: number, cause })
  }
}
