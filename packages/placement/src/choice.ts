import { Loads } from './loads.ts'
import type { Mesh } from './mesh.ts'
import type { PlaceableTensor } from './place-tensors.ts'
import type { Policy } from './policy.ts'
import { type FreshObjective, stagesByLayers, stagesByObjective } from './stages.ts'
import type { Topology } from './topology.ts'
import type { Unit } from './units.ts'

/** Everything that the choice of stages and places depends on. */
export interface Placeable {
  readonly tensors: readonly PlaceableTensor[]
  readonly units: readonly Unit[]
  readonly topology: Topology
  readonly stages: Policy['stages']
}

/** A choice of stages and places. */
export interface Choice {
  /** What chose the stages, as reasons say it. */
  readonly by: string
  readonly stageOf: readonly number[] // for each unit
  readonly mesh: Mesh
}

/** The choice of an objective that looks at sizes alone, or the policy's own ranges of layers. */
export function freshChoice(
  objective: FreshObjective,
  { tensors, units, topology, stages }: Placeable,
  mesh: Mesh,
): Choice {
  const loads = new Loads(tensors, units.length, mesh, topology)
  if (stages?.layers !== undefined) {
    return { by: 'stages.layers', stageOf: stagesByLayers(stages.layers, units, loads), mesh }
  }
  return { by: objective, stageOf: stagesByObjective(objective, units.length, loads, topology), mesh }
}
