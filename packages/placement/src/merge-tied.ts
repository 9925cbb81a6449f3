import { type IndexedTensor, quoteName } from '@onecopy/safetensors'
import { type ReadyRule, ruleOf } from './assign-rules.ts'
import { type Demand, demandOf } from './demands.ts'
import { PlacementError } from './errors.ts'
import type { Policy } from './policy.ts'
import type { NodeDemand, UnitNodes } from './unit-nodes.ts'

/**
 * Gives tied tensors one demand, since they are one tensor: to be wherever any of their names has to be, also one that the
 * checkpoint does not have.
 *
 * @param demands by the place of the tensor that others follow
 * @returns the demands of tied tensors, by the same places
 * @throws PlacementError TENSOR_UNCOVERED for a name that no rule covers, and as `demandOf` does; the error of the nodes for
 * tensors that have to be in different stages
 */
export function mergeTied(
  tied: NonNullable<Policy['tied']>,
  tensors: readonly Pick<IndexedTensor, 'name'>[],
  roots: readonly number[],
  demands: readonly (NodeDemand | null)[],
  rules: readonly ReadyRule[],
  stageCount: number,
  nodes: UnitNodes,
): ReadonlyMap<number, NodeDemand> {
  const merged = new Map<number, NodeDemand>()
  const places = new Map(tensors.map(({ name }, place) => [name, place]))
  for (const [at, names] of tied.entries()) {
    const members = names.flatMap((name) => places.get(name) ?? [])
    if (members.length === 0) continue
    const wanted = names.map((name, nth): Demand => {
      const place = places.get(name)
      if (place !== undefined) return demands[roots[place]!]!
      const found = ruleOf(name, rules)
      if (found !== null) return demandOf(name, found, stageCount)
      const message = `No rule covers ${quoteName(name)}, which is tied to tensor ${quoteName(tensors[members[0]!]!.name)}`
      throw new PlacementError('TENSOR_UNCOVERED', message, { tensor: name, field: `tied[${at}][${nth}]` })
    })
    const demand = mergeDemands(wanted, members[0]!, nodes)
    for (const place of members) merged.set(roots[place]!, demand)
  }
  return merged
}

/** @param tensor whose demands they are, for errors */
function mergeDemands(demands: readonly Demand[], tensor: number, nodes: UnitNodes): NodeDemand {
  const fixed = [...new Set(demands.flatMap((demand) => demand.fixed))].sort((a, b) => a - b)
  const units = demands.flatMap((demand) => demand.units)
  const layers = nodes.known(units.filter(({ layer }) => layer !== null))
  const free = nodes.known(units.filter(({ layer }) => layer === null))
  // What may be anywhere goes where the others are.
  for (const node of free) {
    nodes.groups.merge(node, layers[0] ?? free[0]!)
    if (fixed.length > 0 && layers.length === 0) nodes.groups.fix(node, { stages: fixed, tensor })
  }
  return { fixed, units, nodes: [...layers, ...free] }
}
