import { nearestNames as nearestBy } from '@onecopy/safetensors/tensors'
import { distance } from 'fastest-levenshtein'

/** The names most like the wanted one by edit distance (Levenshtein 1966), best first; none when nothing is like it. */
export function nearestNames(wanted: string, names: Iterable<string>): readonly string[] {
  return nearestBy(wanted, names, distance)
}
