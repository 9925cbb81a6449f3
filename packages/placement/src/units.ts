import { type IndexedTensor, quoteName } from '@onecopy/safetensors'
import { type Assignment, type ReadyRule, ruleOf } from './assign-rules.ts'
import { type Demand, demandOf, type UnitKey } from './demands.ts'
import { PlacementError } from './errors.ts'
import { compareNatural } from './natural-order.ts'
import { compilePattern } from './pattern.ts'
import type { Policy } from './policy.ts'
import { UnitGroups } from './unit-groups.ts'

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

interface Node extends UnitKey {
  rule: number // position of the first rule that it comes from
}

/**
 * Makes units of layers and free tensors, merges those that share a stage by the policy, and puts them in order: by the
 * first rule that speaks of their stack or tensor, then by its name, then by number.
 *
 * @param roots for each tensor the one that it follows in the end, itself where it is no companion
 * @throws PlacementError STAGE_MISSING as `demandOf` does; RULES_CONTRADICT for tensors that share a stage, but have to be in
 * different ones; TENSOR_UNCOVERED for a name of a tied group that no rule covers
 */
export function collectUnits(
  tensors: readonly Pick<IndexedTensor, 'name'>[],
  assignments: readonly Assignment[],
  roots: readonly number[],
  rules: readonly ReadyRule[],
  { together = [], tied = [] }: Pick<Policy, 'together' | 'tied'>,
  stageCount: number,
): Units {
  const subject = (place: number): string => {
    const { rule } = assignments[roots[place]!]!
    return `tensor ${quoteName(tensors[place]!.name)} (${rule!.text})`
  }
  const groups = new UnitGroups((a, b) => {
    const what = `${subject(a.tensor)} must be in stages ${a.stages}, and ${subject(b.tensor)} in stages ${b.stages}`
    const message = `Tensors that share a stage contradict each other: ${what}`
    const details = { tensors: [a, b].map(({ tensor }) => tensors[tensor]!.name) }
    return new PlacementError('RULES_CONTRADICT', message, { tensor: tensors[b.tensor]!.name, details })
  })
  const nodes = new Map<number, Node>()
  const nodeOf = new Map<string, number>()

  const nodeFor = ({ name, layer }: UnitKey, rule: number): number => {
    const key = `${layer ?? ''} ${name}`
    let node = nodeOf.get(key)
    if (node === undefined) {
      node = groups.add()
      nodeOf.set(key, node)
      nodes.set(node, { name, layer, rule })
    }
    return node
  }

  const demands: (Demand & { readonly nodes: readonly number[] })[] = []
  const stackRules = new Map<string, number>()
  for (const [place, { name }] of tensors.entries()) {
    const assignment = assignments[place]!
    if (assignment.rule === null) continue
    const { rule } = assignment
    const demand = demandOf(name, assignment, stageCount)
    for (const unit of demand.units) {
      const first = stackRules.get(unit.name) ?? rule.place
      stackRules.set(unit.name, Math.min(first, rule.place))
    }
    demands[place] = { ...demand, nodes: demand.units.map((unit) => nodeFor(unit, rule.place)) }
  }
  for (const node of nodes.values()) node.rule = stackRules.get(node.name)!

  const isTogether = new Set<number>()
  for (const [at, patterns] of together.entries()) {
    const groupNodes = new Map<string, number>()
    for (const [nth, pattern] of patterns.entries()) {
      const compiled = compilePattern(pattern, `together[${at}][${nth}]`)
      for (const [place, { name }] of tensors.entries()) {
        const found = compiled.match(name)
        if (found === null) continue
        const root = roots[place]!
        const demand = demands[root]!
        if (demand.fixed.length === 0 && demand.nodes.length === 0) continue // pinned
        const key = `${found.layer},${found.expert}`
        const group = groupNodes.get(key) ?? groups.add()
        groupNodes.set(key, group)
        isTogether.add(root)
        if (demand.nodes.length === 0) groups.fix(group, { stages: demand.fixed, tensor: place })
        for (const node of demand.nodes) groups.merge(group, node)
      }
    }
  }

  const isTied = new Set<number>()
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
    const fixed = [...new Set(wanted.flatMap((demand) => demand.fixed))].sort((a, b) => a - b)
    const units = wanted.flatMap((demand) => demand.units)
    const known = (list: readonly UnitKey[]) => {
      return list.flatMap(({ name, layer }) => nodeOf.get(`${layer ?? ''} ${name}`) ?? [])
    }
    const layers = known(units.filter(({ layer }) => layer !== null))
    const free = known(units.filter(({ layer }) => layer === null))
    // What may be anywhere goes where the others are.
    for (const node of free) {
      groups.merge(node, layers[0] ?? free[0]!)
      if (fixed.length > 0 && layers.length === 0) groups.fix(node, { stages: fixed, tensor: members[0]! })
    }
    for (const place of members) {
      const root = roots[place]!
      isTied.add(root)
      demands[root] = { fixed, units, nodes: [...layers, ...free] }
    }
  }

  const sequence = unitsInOrder(groups, nodes)
  const needs = tensors.map((_, place): StageNeeds => {
    const root = roots[place]!
    const demand = demands[root]!
    const fixed = new Set(demand.fixed)
    const units = new Set<number>()
    for (const node of demand.nodes) {
      const stages = groups.fixed(node)
      if (stages === null) units.add(sequence.places.get(groups.find(node))!)
      else for (const stage of stages) fixed.add(stage)
    }
    return {
      fixed: [...fixed].sort((a, b) => a - b),
      units: [...units].sort((a, b) => a - b),
      together: isTogether.has(root),
      tied: isTied.has(root),
    }
  })
  return { units: sequence.units, needs }
}

/** The groups without fixed stages, each at the place of its first node. */
function unitsInOrder(
  groups: UnitGroups,
  nodes: ReadonlyMap<number, Node>,
): { readonly units: readonly Unit[]; readonly places: ReadonlyMap<number, number> } {
  const order = [...nodes].sort(
    ([, a], [, b]) => a.rule - b.rule || compareNatural(a.name, b.name) || (a.layer ?? -1) - (b.layer ?? -1),
  )
  const units: { layers: number[] }[] = []
  const places = new Map<number, number>()
  for (const [id, { layer }] of order) {
    if (groups.fixed(id) !== null) continue
    const root = groups.find(id)
    let place = places.get(root)
    if (place === undefined) {
      place = units.push({ layers: [] }) - 1
      places.set(root, place)
    }
    if (layer !== null) units[place]!.layers.push(layer)
  }
  for (const { layers } of units) layers.sort((a, b) => a - b)
  return { units, places }
}
