import { leastAssignment } from './assignment.ts'
import { PlacementError } from './errors.ts'
import { Holdings, heldBytes } from './holdings.ts'
import { Loads } from './loads.ts'
import { Mesh, plannedHosts } from './mesh.ts'
import { hostFinder, movedBytesOf } from './moved-bytes.ts'
import { type HeldTensor, type PlaceableTensor, TensorPlacer } from './place-tensors.ts'
import type { Policy } from './policy.ts'
import { type FreshObjective, stagesByLayers, stagesByObjective, stagesThatMoveLeast } from './stages.ts'
import type { Topology } from './topology.ts'
import { checkMemory, totalsOf } from './totals.ts'
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
  const loads = loadsOf(tensors, units, mesh, topology)
  if (stages?.layers !== undefined) {
    return { by: 'stages.layers', stageOf: stagesByLayers(stages.layers, units, loads), mesh }
  }
  return { by: objective, stageOf: stagesByObjective(objective, units.length, loads, topology), mesh }
}

/**
 * The choice that moves the least bytes to hosts that do not have them. Tried are the stages of every other objective and
 * those that leave units where most of them is; each with the workers at their own places, and with whole hosts at each
 * other's. A host only takes the places of one with as many workers, so that what was meant to be near stays so. Choices
 * that memory has no room for do not count; of equal ones the first does.
 *
 * @returns never one that moves more than `balanced` with the workers at their own places, where there is room for that
 */
export function stickyChoice(placeable: Placeable, mesh: Mesh): Choice {
  const { tensors, units, topology, stages } = placeable
  const holdings = new Holdings(topology)
  const judged = new Map<string, { readonly choice: Choice; readonly moved: number }>()
  let best: { readonly choice: Choice; readonly moved: number } | null = null

  const consider = (choice: Choice): void => {
    const key = `${choice.stageOf}|${choice.mesh.workerAt}`
    if (judged.has(key)) return
    const placed = placeAll(tensors, choice)
    const hostsOf = hostFinder(choice.mesh.workers, topology)
    const moved = placed.reduce((sum, tensor) => sum + movedBytesOf(tensor, holdings, hostsOf), 0)
    judged.set(key, { choice, moved })
    if ((best === null || moved < best.moved) && hasRoom(placed, choice.mesh, topology)) best = { choice, moved }
  }
  const considerKept = (at: Mesh): void => {
    if (stages?.layers !== undefined) return
    const moved = movedByStage(placeable, at, holdings)
    const stageOf = stagesThatMoveLeast(moved, loadsOf(tensors, units, at, topology), at.size.pp)
    if (stageOf !== null) consider({ by: 'sticky', stageOf, mesh: at })
  }

  const known = topology.workers.every(({ memoryBytes }) => memoryBytes !== undefined)
  const objectives: readonly FreshObjective[] = known
    ? ['balanced', 'min-peak', 'sequential']
    : ['balanced', 'min-peak']
  const fresh = objectives.map((objective) => freshChoice(objective, placeable, mesh))
  for (const choice of fresh) consider(choice)
  if (!holdings.empty) {
    considerKept(mesh)
    for (const { choice } of [...judged.values()]) {
      const moved = exchangeHosts(placeable, choice, holdings)
      if (moved === null) continue
      consider({ ...choice, mesh: moved })
      considerKept(moved)
    }
  }
  // Without room for any, the first is made all the same, for its check of memory says what is missing.
  return (best as { readonly choice: Choice } | null)?.choice ?? fresh[0]!
}

/** The same places with whole hosts exchanged so that most is where it has to be; null when they are right as they are. */
function exchangeHosts({ tensors, topology }: Placeable, choice: Choice, holdings: Holdings): Mesh | null {
  const { mesh, stageOf } = choice
  const hostsOf = hostFinder(mesh.workers, topology)
  const placer = new TensorPlacer(mesh)
  const saved = topology.hosts.map(() => topology.hosts.map(() => 0)) // by the host whose places they are, and the taker
  for (const tensor of tensors) {
    const known = holdings.of(tensor.tensor)
    if (known === null || tensor.pinned.length > 0) continue
    const placed = placer.place(tensor, placer.stages(tensor, stageOf))
    for (const { ranges, workers } of placed.parts) {
      for (const owner of hostsOf(workers)) {
        for (const taker of known.held.keys()) saved[owner]![taker]! += heldBytes(known, placed, ranges, taker)
      }
    }
  }
  const workersOf = topology.hosts.map(({ name }) => {
    return [...mesh.workers.keys()].filter((worker) => mesh.workers[worker]!.host === name)
  })
  const costs = saved.map((bytes, owner) => {
    return bytes.map((saving, taker) => {
      return workersOf[owner]!.length === workersOf[taker]!.length ? -saving : Number.POSITIVE_INFINITY
    })
  })
  const takerOf = leastAssignment(costs)
  if (takerOf === null || takerOf.every((taker, owner) => taker === owner)) return null
  const taking = new Map<number, number>() // the worker that takes another's place
  for (const [owner, workers] of workersOf.entries()) {
    for (const [nth, worker] of workers.entries()) taking.set(worker, workersOf[takerOf[owner]!]![nth]!)
  }
  return new Mesh(
    mesh.size,
    topology,
    mesh.workerAt.map((worker) => taking.get(worker)!),
  )
}

/** The bytes that move for each unit in each stage. */
function movedByStage({ tensors, units, topology }: Placeable, mesh: Mesh, holdings: Holdings): readonly number[][] {
  const hostsOf = hostFinder(mesh.workers, topology)
  const placer = new TensorPlacer(mesh)
  const moved = units.map(() => Array.from({ length: mesh.size.pp }, () => 0))
  for (const tensor of tensors) {
    if (tensor.needs.units.length === 0) continue
    for (let stage = 0; stage < mesh.size.pp; stage++) {
      const bytes = movedBytesOf(placer.place(tensor, [stage]), holdings, hostsOf)
      for (const unit of tensor.needs.units) moved[unit]![stage]! += bytes
    }
  }
  return moved
}

function placeAll(tensors: readonly PlaceableTensor[], { stageOf, mesh }: Choice): readonly HeldTensor[] {
  const placer = new TensorPlacer(mesh)
  return tensors.map((tensor) => placer.place(tensor, placer.stages(tensor, stageOf)))
}

function hasRoom(placed: readonly HeldTensor[], { workers }: Mesh, topology: Topology): boolean {
  const hosts = plannedHosts(topology)
  const tensors = placed.map((tensor) => ({ ...tensor, reason: 0 }))
  try {
    checkMemory({ hosts, workers, totals: totalsOf({ hosts, workers, tensors }) })
    return true
  } catch (error) {
    if (error instanceof PlacementError && error.code === 'MEMORY_EXCEEDED') return false
    throw error
  }
}

function loadsOf(tensors: readonly PlaceableTensor[], units: readonly Unit[], mesh: Mesh, topology: Topology): Loads {
  return new Loads(tensors, units.length, mesh, topology)
}
