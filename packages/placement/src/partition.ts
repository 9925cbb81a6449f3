/** What a cut of units in a row into stages is judged by. Ranges of units are half-open; empty ones are always allowed. */
export interface CutJudge {
  /** Once a range is not allowed, those that begin earlier are not either. */
  allowed(stage: number, begin: number, end: number): boolean
  /** What must be least in sum, first and second. */
  costs(stage: number, begin: number, end: number): readonly [first: number, second: number]
}

/**
 * How many units each stage gets so that bytes are in proportion to weights: the stage's share of all bytes without what it
 * holds anyway, in units of mean size, by largest remainder. Each gets at least one where there are enough; what a stage
 * has too much is missing in the others in proportion.
 *
 * @param fixedBytes what each stage holds anyway
 */
export function balancedCounts(
  unitBytes: readonly number[],
  fixedBytes: readonly number[],
  weights: readonly number[],
): readonly number[] {
  const count = unitBytes.length
  const least = count >= weights.length ? 1 : 0
  // Units without bytes count alike.
  const mean = unitBytes.reduce((sum, bytes) => sum + bytes, 0) / count || 1
  const quotas: number[] = weights.map(() => least)
  const rising = new Set(weights.keys())
  for (let settled = false; !settled; ) {
    settled = true
    const open = [...rising]
    const units = count - least * (weights.length - open.length)
    const bytes = open.reduce((sum, stage) => sum + fixedBytes[stage]!, units * mean)
    const weight = open.reduce((sum, stage) => sum + weights[stage]!, 0)
    for (const stage of open) quotas[stage] = ((bytes / weight) * weights[stage]! - fixedBytes[stage]!) / mean
    for (const stage of open) {
      if (quotas[stage]! >= least) continue
      quotas[stage] = least
      rising.delete(stage)
      settled = false
    }
  }
  const counts = quotas.map(Math.floor)
  const missing = count - counts.reduce((sum, units) => sum + units, 0)
  const byRemainder = [...counts.keys()].sort((a, b) => quotas[b]! - counts[b]! - (quotas[a]! - counts[a]!) || a - b)
  for (const stage of byRemainder.slice(0, missing)) counts[stage]!++
  return counts
}

/**
 * The least peak of any cut of units in a row into stages, by dynamic programming. What a stage holds at its peak grows
 * with its units, so the best place of each cut is where the peak before it overtakes that behind it.
 */
export function leastPeak(
  unitCount: number,
  stageCount: number,
  peak: (stage: number, begin: number, end: number) => number,
): number {
  let best = Array.from({ length: unitCount + 1 }, (_, end) => peak(0, 0, end)) // with the stages so far, by end
  for (let stage = 1; stage < stageCount; stage++) {
    const before = best
    best = before.map((_, end) => {
      let low = 0
      let high = end
      while (low < high) {
        const middle = (low + high) >> 1
        if (before[middle]! >= peak(stage, middle, end)) high = middle
        else low = middle + 1
      }
      const at = Math.max(before[low]!, peak(stage, low, end))
      return low === 0 ? at : Math.min(at, Math.max(before[low - 1]!, peak(stage, low - 1, end)))
    })
  }
  return best[unitCount]!
}

/**
 * The allowed cut with the least costs in sum, by dynamic programming; of equal ones the one with the most units in the
 * later stages.
 *
 * @returns how many units each stage gets, or null when no cut is allowed
 */
export function leastCosts(unitCount: number, stageCount: number, judge: CutJudge): readonly number[] | null {
  interface Best {
    readonly first: number
    readonly second: number
    readonly begin: number // of the last stage
  }
  const table: (readonly (Best | null)[])[] = []
  for (let stage = 0; stage < stageCount; stage++) {
    const before = table[stage - 1]
    const row: (Best | null)[] = []
    for (let end = 0; end <= unitCount; end++) {
      let best: Best | null = null
      for (let begin = end; begin >= 0; begin--) {
        if (begin < end && !judge.allowed(stage, begin, end)) break
        const rest = before === undefined ? (begin === 0 ? { first: 0, second: 0 } : null) : before[begin]
        if (rest === null || rest === undefined) continue
        const costs = judge.costs(stage, begin, end)
        const first = rest.first + costs[0]
        const second = rest.second + costs[1]
        if (best !== null && (first > best.first || (first === best.first && second >= best.second))) continue
        best = { first, second, begin }
      }
      row.push(best)
    }
    table.push(row)
  }
  const counts: number[] = []
  let end = unitCount
  for (let stage = stageCount - 1; stage >= 0; stage--) {
    const best = table[stage]![end]
    if (best === null || best === undefined) return null
    counts.unshift(end - best.begin)
    end = best.begin
  }
  return counts
}
