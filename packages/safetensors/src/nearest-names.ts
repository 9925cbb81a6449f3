/** Names offered in an error: as many as anybody reads. */
const MAX_OFFERED = 3

/** Beyond these, comparing every name would make an error slow; in UTF-16 code units and in names. */
const MAX_COMPARED_LENGTH = 256
const MAX_COMPARED_NAMES = 100_000

/**
 * The known names most like the wanted one, best first; none when nothing is like it.
 *
 * @param distance how many changes lead from one name to the other; handed in, since this package depends on nothing
 */
export function nearestNames(
  wanted: string,
  known: Iterable<string>,
  distance: (a: string, b: string) => number,
): readonly string[] {
  if (wanted.length > MAX_COMPARED_LENGTH) return []
  const limit = Math.max(2, Math.floor(wanted.length / 2))
  const scored: [score: number, name: string][] = []
  let compared = 0
  for (const name of known) {
    if (++compared > MAX_COMPARED_NAMES) break
    // No distance is less than the difference in length.
    if (Math.abs(name.length - wanted.length) > limit) continue
    const score = distance(wanted, name)
    if (score <= limit) scored.push([score, name])
  }
  return scored
    .sort(([a], [b]) => a - b)
    .slice(0, MAX_OFFERED)
    .map(([, name]) => name)
}
