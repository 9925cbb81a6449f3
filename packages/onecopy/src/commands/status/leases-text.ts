import type { LeaseStatus } from '@onecopy/protocol'
import { displayName } from '../../terminal/text.ts'

/** What leases are on, each version once: `mistral@2 × 3, llama@1`. */
export function leasesText(leases: readonly LeaseStatus[]): string {
  const counts = new Map<string, number>()
  for (const { checkpoint, version } of leases) {
    const held = `${displayName(checkpoint)}@${version}`
    counts.set(held, (counts.get(held) ?? 0) + 1)
  }
  return [...counts].map(([held, count]) => (count === 1 ? held : `${held} × ${count}`)).join(', ')
}
