import { type IndexedTensor, quoteName } from '@onecopy/safetensors'
import type { Assignment, ReadyRule } from './assign-rules.ts'
import { demandOf } from './demands.ts'
import { PlacementError } from './errors.ts'
import { getOrMake } from './get-or-make.ts'
import { mergeTied } from './merge-tied.ts'
import { mergeTogether } from './merge-together.ts'
import { isDeclaredOrder } from './module-order.ts'
import type { Policy } from './policy.ts'
import type { FixedStages } from './unit-groups.ts'
import { type NodeDemand, UnitNodes } from './unit-nodes.ts'

/** What goes to one stage as a whole. */
export interface Unit {
  /** Numbers of its layers, rising; empty for tensors without one. */
  readonly layers: readonly number[]
}

/** Where a tensor goes: to these stages, and to those of these units. */
export interface StageNeeds {
  readonly fixed: readonly number[] // rising
  readonly units: readonly number[] // positions in the units
  readonly together: boolean // whether a group of the policy names it
  readonly tied: boolean
}

/** What there is to be dealt over the stages. */
export interface Units {
  /** In the order in which stages take them. */
  readonly units: readonly Unit[]
  /** For each tensor. */
  readonly needs: readonly StageNeeds[]
}

/**
 * Makes units of layers and free tensors, merges those that share a stage by the policy, and puts them in order: by the
 * first rule that speaks of their stack or tensor, then as the model declares them, then by number.
 *
 * @param roots for each tensor the one that it follows in the end, itself where it is no companion
 * @throws PlacementError STAGE_MISSING as `demandOf` does; RULES_CONTRADICT for tensors that share a stage, but have to be in
 * different ones; TENSOR_UNCOVERED for a name of a tied group that no rule covers
 */
export function collectUnits(
  tensors: readonly Pick<IndexedTensor, 'name' | 'dtype' | 'shard'>[],
  assignments: readonly Assignment[],
  roots: readonly number[],
  rules: readonly ReadyRule[],
  { together = [], tied = [] }: Pick<Policy, 'together' | 'tied'>,
  stageCount: number,
): Units {
  const onConflict = (a: FixedStages, b: FixedStages) => contradiction(a, b, tensors, assignments, roots)
  const nodes = new UnitNodes(onConflict, isDeclaredOrder(tensors))
  const demands = unitDemands(tensors, assignments, stageCount, nodes)
  const togetherRoots = mergeTogether(together, tensors, roots, demands, nodes)
  const tiedDemands = mergeTied(tied, tensors, roots, demands, rules, stageCount, nodes)

  const { units, unitOf } = unitsInOrder(nodes)
  const needs = roots.map((root): StageNeeds => {
    const demand = tiedDemands.get(root) ?? demands[root]!
    const fixed = new Set(demand.fixed)
    const inUnits = new Set<number>()
    for (const node of demand.nodes) {
      const stages = nodes.groups.fixed(node)
      if (stages === null) inUnits.add(unitOf.get(nodes.groups.find(node))!)
      else for (const stage of stages) fixed.add(stage)
    }
    return {
      fixed: [...fixed].sort((a, b) => a - b),
      units: [...inUnits].sort((a, b) => a - b),
      together: togetherRoots.has(root),
      tied: tiedDemands.has(root),
    }
  })
  return { units, needs }
}

/**
 * What each tensor's own rule wants; null for those that follow another tensor.
 *
 * @param nodes gets one for each layer and free tensor
 * @throws PlacementError STAGE_MISSING as `demandOf` does
 */
function unitDemands(
  tensors: readonly Pick<IndexedTensor, 'name'>[],
  assignments: readonly Assignment[],
  stageCount: number,
  nodes: UnitNodes,
): readonly (NodeDemand | null)[] {
  return assignments.map((assignment, place) => {
    if (assignment.rule === null) return null
    const demand = demandOf(tensors[place]!.name, assignment, stageCount)
    return { ...demand, nodes: demand.units.map((unit) => nodes.add(unit, assignment.rule.place)) }
  })
}

/** The groups without fixed stages, each at the place of its first node. */
function unitsInOrder(nodes: UnitNodes): {
  readonly units: readonly Unit[]
  /** Positions in the units, by the node that stands for the group. */
  readonly unitOf: ReadonlyMap<number, number>
} {
  const layersOf = new Map<number, number[]>()
  for (const [node, { layer }] of nodes.inOrder()) {
    if (nodes.groups.fixed(node) !== null) continue
    const layers = getOrMake(layersOf, nodes.groups.find(node), () => [])
    if (layer !== null) layers.push(layer)
  }
  return {
    units: Array.from(layersOf.values(), (layers) => ({ layers: layers.sort((a, b) => a - b) })),
    unitOf: new Map(Array.from(layersOf.keys(), (group, place) => [group, place])),
  }
}

function contradiction(
  a: FixedStages,
  b: FixedStages,
  tensors: readonly Pick<IndexedTensor, 'name'>[],
  assignments: readonly Assignment[],
  roots: readonly number[],
): PlacementError {
  const subject = ({ tensor }: FixedStages) => {
    return `tensor ${quoteName(tensors[tensor]!.name)} (${assignments[roots[tensor]!]!.rule!.text})`
  }
  const what = `${subject(a)} must be in stages ${a.stages}, and ${subject(b)} in stages ${b.stages}`
  const details = { tensors: [a, b].map(({ tensor }) => tensors[tensor]!.name) }
  return new PlacementError('RULES_CONTRADICT', `Tensors that share a stage contradict each other: ${what}`, {
    tensor: tensors[b.tensor]!.name,
    details,
  })
}
