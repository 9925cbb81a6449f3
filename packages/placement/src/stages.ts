import { PlacementError } from './errors.ts'
import type { Loads } from './loads.ts'
import { balancedCounts, leastCosts, leastPeak } from './partition.ts'
import type { Objective, Stages } from './policy.ts'
import type { Topology } from './topology.ts'
import type { Unit } from './units.ts'

/** Objectives that look at nothing but sizes. */
export type FreshObjective = Exclude<Objective, 'sticky'>

/**
 * The stage of each unit by an objective. Neighbours stay together: each stage gets a run of units.
 *
 * @throws PlacementError TOPOLOGY_INVALID for `sequential` when a worker's memory is not known
 */
export function stagesByObjective(
  objective: FreshObjective,
  unitCount: number,
  loads: Loads,
  topology: Topology,
): readonly number[] {
  const stageCount = loads.stageBytes.length
  if (objective === 'balanced') {
    return spread(balancedCounts(loads.unitBytes, loads.stageBytes, loads.stageWeights))
  }
  if (objective === 'sequential') return spread(sequentialCounts(unitCount, loads, topology))
  const peak = (stage: number, begin: number, end: number) => loads.peak(stage, begin, end)
  const limit = leastPeak(unitCount, stageCount, peak)
  // Of all cuts with that peak the one that spreads best below it.
  const counts = leastCosts(unitCount, stageCount, {
    allowed: (stage, begin, end) => peak(stage, begin, end) <= limit,
    costs: (stage, begin, end) => [peak(stage, begin, end) ** 2, 0],
  })
  return spread(counts!)
}

/**
 * The stage of each unit so that the least bytes move, within the workers' memory; of equal ones the best spread.
 *
 * @param moved bytes that move for each unit in each stage
 * @returns null where memory has room for no cut
 */
export function stagesThatMoveLeast(
  moved: readonly (readonly number[])[],
  loads: Loads,
  stageCount: number,
): readonly number[] | null {
  const sums = Array.from({ length: stageCount }, (_, stage) => {
    const sum = [0]
    for (const byStage of moved) sum.push(sum.at(-1)! + byStage[stage]!)
    return sum
  })
  const counts = leastCosts(moved.length, stageCount, {
    allowed: (stage, begin, end) => loads.fits(stage, begin, end),
    costs: (stage, begin, end) => [sums[stage]![end]! - sums[stage]![begin]!, loads.peak(stage, begin, end) ** 2],
  })
  return counts === null ? null : spread(counts)
}

/**
 * The stage of each unit by the ranges of a policy. Units without a layer go wherever the fullest worker is least full.
 *
 * @throws PlacementError POLICY_INVALID when a layer is in no range, ranges do not rise, or a unit is in two of them
 */
export function stagesByLayers(
  ranges: NonNullable<Stages['layers']>,
  units: readonly Unit[],
  loads: Loads,
): readonly number[] {
  let reached = 0
  for (const [stage, [begin, end]] of ranges.entries()) {
    if (begin === end) continue
    if (begin < reached)
      throw invalid(`stages.layers[${stage}]`, `begins at layer ${begin}, but must rise from ${reached}`)
    reached = end
  }
  const stages = units.map(({ layers }): number | null => {
    const found = layers.map((layer) => {
      const stage = ranges.findIndex(([begin, end]) => layer >= begin && layer < end)
      if (stage === -1) throw invalid('stages.layers', `leaves out layer ${layer}: each layer must be in one stage`)
      return stage
    })
    const other = found.findIndex((stage) => stage !== found[0])
    if (other === -1) return found[0] ?? null
    const where = `layers ${layers[0]} and ${layers[other]} to stages ${found[0]} and ${found[other]}`
    throw invalid('stages.layers', `takes ${where}, but they share a stage by together`)
  })
  const byStage = ranges.map((_, stage) => [...stages.keys()].filter((unit) => stages[unit] === stage))
  return stages.map((stage, unit) => {
    if (stage !== null) return stage
    const peaks = byStage.map((inStage, at) => loads.peakOf(at, [...inStage, unit]))
    const least = peaks.indexOf(Math.min(...peaks))
    byStage[least]!.push(unit)
    return least
  })
}

/** Fills one stage before the next. What fits nowhere is left to the last, where the check of memory says what is missing. */
function sequentialCounts(unitCount: number, loads: Loads, { workers }: Topology): readonly number[] {
  const unlimited = workers.findIndex(({ memoryBytes }) => memoryBytes === undefined)
  if (unlimited !== -1) {
    const { name } = workers[unlimited]!
    const field = `workers[${unlimited}].memoryBytes`
    const message = `Worker "${name}" has no memoryBytes, which the objective "sequential" must know of every worker`
    throw new PlacementError('TOPOLOGY_INVALID', message, { worker: name, field })
  }
  const stageCount = loads.stageBytes.length
  const counts: number[] = []
  let begin = 0
  for (let stage = 0; stage < stageCount - 1; stage++) {
    let end = begin
    while (end < unitCount && loads.fits(stage, begin, end + 1)) end++
    counts.push(end - begin)
    begin = end
  }
  return [...counts, unitCount - begin]
}

function spread(counts: readonly number[]): readonly number[] {
  return counts.flatMap((count, stage) => Array.from({ length: count }, () => stage))
}

function invalid(field: string, what: string): PlacementError {
  return new PlacementError('POLICY_INVALID', `Policy field ${field} ${what}`, { field })
}
