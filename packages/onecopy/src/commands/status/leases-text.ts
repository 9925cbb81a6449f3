import type { LeaseStatus } from '@onecopy/protocol'
import { displayName } from '../../terminal/text.ts'

/** What leases are on, such as `mistral@2 × 3, llama@1`. */
export function leasesText(leases: readonly LeaseStatus[]): string {
  return leases
    .map(({ checkpoint, version, count }) => {
      const held = `${displayName(checkpoint)}@${version}`
      return count === 1 ? held : `${held} × ${count}`
    })
    .join(', ')
}
