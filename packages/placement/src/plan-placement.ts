import { checkArgument, type TensorIndex, tensorIndex } from '@onecopy/safetensors'
import { type Assignment, assignRules, type RuleAssignment, readyRules } from './assign-rules.ts'
import { checkHeads } from './check-heads.ts'
import { type Choice, freshChoice, type Placeable } from './choice.ts'
import { ACT_ORDER_COMPANIONS, DEFAULT_COMPANIONS } from './companions.ts'
import { dealExperts } from './experts.ts'
import { checkHoldings } from './holdings.ts'
import { INDEX_RULE, layoutOf } from './layout.ts'
import { Mesh, meshSize, plannedHosts } from './mesh.ts'
import { hasActOrder, type ModelConfig } from './model-config.ts'
import { noticesOf } from './notices.ts'
import { cutTensors } from './pieces.ts'
import { pinnedWorkers } from './pins.ts'
import { type PlaceableTensor, TensorPlacer } from './place-tensors.ts'
import { Plan } from './plan.ts'
import type { PlacedTensor } from './plan-data.ts'
import type { Policy } from './policy.ts'
import { foundPrefix } from './prefix.ts'
import { readPolicy } from './read-policy.ts'
import { readTopology } from './read-topology.ts'
import { reasonOf } from './reasons.ts'
import { stickyChoice } from './sticky.ts'
import { checkTied } from './tied.ts'
import type { Topology } from './topology.ts'
import { collectUnits } from './units.ts'

/**
 * Decides which worker gets which tensors and slices of a checkpoint. Pure: the same input gives the same plan, on every
 * machine, and nothing is read or asked.
 *
 * @param source the index of a checkpoint, or whatever has one, such as an open checkpoint; the `config.json` of one says how
 * GPTQ has made groups, where the policy does not
 * @returns a plan that is checked, memory limits included, with notices of what it does not show
 * @throws TypeError for a source that is none
 * @throws PlacementError POLICY_INVALID, TOPOLOGY_INVALID, HOST_UNKNOWN and RULES_CONTRADICT for input that makes no sense;
 * MESH_MISMATCH when there are not as many workers as the mesh has places; WORKER_UNKNOWN for a pin;
 * TENSOR_UNCOVERED and STAGE_MISSING when rules leave something open; DIMENSION_NOT_DIVISIBLE and COMPANION_UNFIT when
 * tensors cannot be cut so; MEMORY_EXCEEDED when it does not fit
 */
export function planPlacement(
  source: TensorIndex | { readonly index: TensorIndex; readonly config?: ModelConfig | null },
  topology: Topology,
  policy: Policy,
): Plan {
  const has = (source ?? {}) as { readonly index?: TensorIndex; readonly config?: ModelConfig | null }
  const given = has.index ?? (source as TensorIndex)
  checkArgument('The source of planPlacement()', given, INDEX_RULE)
  const index = tensorIndex(given.shards, given.tensors)
  const { tensors, shards } = index
  const checkedPolicy = readPolicy(policy)
  const checkedTopology = readTopology(topology)
  checkHoldings(checkedTopology, tensors)
  const actOrder = hasActOrder(has.config)
  const { companions = actOrder === true ? ACT_ORDER_COMPANIONS : DEFAULT_COMPANIONS } = checkedPolicy
  const { objective = 'balanced', tied = [] } = checkedPolicy
  const size = meshSize(checkedPolicy.mesh)
  const mesh = new Mesh(size, checkedTopology)
  const prefixed = foundPrefix(checkedPolicy.rules, tensors)
  const rules = readyRules(prefixed.rules)

  const assignments = assignRules(tensors, rules, companions)
  const roots = rootsOf(assignments)
  const pinned = pinnedWorkers(assignments, roots, rules, checkedTopology)
  const cuttings = cutTensors(tensors, assignments, dealExperts(tensors, assignments, size.ep), size)
  checkHeads(tensors, assignments, cuttings, has.config)
  checkTied(tensors, assignments, cuttings, rules, tied, size)
  const { units, needs } = collectUnits(tensors, assignments, roots, rules, checkedPolicy, size.pp)

  const placeable: Placeable = {
    tensors: tensors.map((tensor, place) => {
      return { tensor, cutting: cuttings[place]!, needs: needs[place]!, pinned: pinned[place]! }
    }),
    units,
    topology: checkedTopology,
    stages: checkedPolicy.stages,
  }
  const choice = objective === 'sticky' ? stickyChoice(placeable, mesh) : freshChoice(objective, placeable, mesh)
  const placed = placeInOrder(placeable.tensors, assignments, roots, choice)
  const held = choice.mesh.workers.map(() => 0)
  for (const { parts } of placed.tensors) for (const { workers } of parts) for (const worker of workers) held[worker]!++
  const knowsOrder = actOrder !== null || checkedPolicy.companions !== undefined
  const notices = noticesOf({ tensors, rules, assignments, cuttings, policy: checkedPolicy, choice, held, knowsOrder })
  const body = {
    layout: layoutOf(index),
    mesh: size,
    objective,
    hosts: plannedHosts(checkedTopology),
    shards,
    ...placed,
  }
  return Plan.of({ ...body, workers: choice.mesh.workers }, [...prefixed.notices, ...notices])
}

/** For each tensor the one that it follows in the end. */
function rootsOf(assignments: readonly Assignment[]): readonly number[] {
  return assignments.map((_, place) => {
    let root = place
    for (let at = assignments[root]!; at.rule === null; at = assignments[root]!) root = at.owner
    return root
  })
}

/** The tensors in plan order, and why they are where they are, in the order of first mention. */
function placeInOrder(
  tensors: readonly PlaceableTensor[],
  assignments: readonly Assignment[],
  roots: readonly number[],
  choice: Choice,
): { readonly tensors: readonly PlacedTensor[]; readonly reasons: readonly string[] } {
  const placer = new TensorPlacer(choice.mesh)
  const by = choice.mesh.size.pp === 1 ? null : choice.by
  const entries = tensors.map((tensor, place) => {
    const stages = placer.stages(tensor, choice.stageOf)
    const root = assignments[roots[place]!] as RuleAssignment
    return { tensor, place, stages, root, order: [stages[0]!, ...orderInStage(tensor, root), place] }
  })
  entries.sort((a, b) => {
    const at = a.order.findIndex((value, nth) => value !== b.order[nth])
    return at === -1 ? 0 : a.order[at]! - b.order[at]!
  })
  const reasons = new Map<string, number>()
  const placed = entries.map(({ tensor, place, stages, root }): PlacedTensor => {
    const { cutting, needs } = tensor
    const text = reasonOf({ assignment: assignments[place]!, root, cutting, needs }, by)
    const reason = reasons.get(text) ?? reasons.size
    reasons.set(text, reason)
    const { parts, ...rest } = placer.place(tensor, stages)
    return { ...rest, reason, parts }
  })
  return { tensors: placed, reasons: [...reasons.keys()] }
}

/** What is fixed to the first stage comes before the layers, everything else without a layer behind them. */
function orderInStage(
  { needs }: PlaceableTensor,
  { rule, captures }: RuleAssignment,
): readonly [group: number, unit: number, layer: number] {
  const first = [rule.rule.stage ?? []].flat().includes('first')
  const layer = captures.layer ?? -1
  const unit = needs.units[0] ?? -1
  if (first) return [0, 0, 0]
  return unit === -1 && layer === -1 ? [2, 0, 0] : [1, unit, layer]
}
