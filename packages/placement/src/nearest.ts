import { nearestNames } from '@onecopy/safetensors'
import { distance } from 'fastest-levenshtein'

/** The names most like the wanted one by edit distance (Levenshtein 1966), best first; none when nothing is like it. */
export function nearest(wanted: string, known: Iterable<string>): readonly string[] {
  return nearestNames(wanted, known, distance)
}
