import { leastAssignment } from './assignment.ts'
import { checkMemory } from './check-memory.ts'
import { type Choice, freshChoice, type Placeable } from './choice.ts'
import { PlacementError } from './errors.ts'
import { Holdings } from './holdings.ts'
import { partsByHost } from './host-parts.ts'
import { Loads } from './loads.ts'
import { Mesh, plannedHosts } from './mesh.ts'
import { movedBytes, movedBytesOf } from './moved-bytes.ts'
import { type PlaceableTensor, TensorPlacer } from './place-tensors.ts'
import type { UnexplainedTensor } from './plan-data.ts'
import { type FreshObjective, stagesThatMoveLeast } from './stages.ts'
import type { Topology } from './topology.ts'
import { totalsOf } from './totals.ts'

/**
 * The choice that moves the least bytes to hosts that do not have them. Tried are the stages of every other objective and
 * those that leave units where most of them is; each with the workers at their own places, and with whole hosts at each
 * other's. A host only takes the places of one with as many workers, so that what was meant to be near stays so. Choices
 * that memory has no room for do not count; of equal ones the first does.
 *
 * @returns never one that moves more than `balanced` with the workers at their own places, where there is room for that
 */
export function stickyChoice(placeable: Placeable, mesh: Mesh): Choice {
  const search = new StickySearch(placeable)
  const allLimited = placeable.topology.workers.every(({ memoryBytes }) => memoryBytes !== undefined)
  const objectives: readonly FreshObjective[] = ['balanced', 'min-peak', ...(allLimited ? ['sequential' as const] : [])]
  const fresh = objectives.map((objective) => freshChoice(objective, placeable, mesh))
  for (const choice of fresh) search.consider(choice)
  if (!search.holdings.empty) {
    search.considerLeastMoves(mesh)
    for (const choice of search.considered) {
      const exchanged = exchangeHosts(placeable, choice, search.holdings)
      if (exchanged === null) continue
      search.consider({ ...choice, mesh: exchanged })
      search.considerLeastMoves(exchanged)
    }
  }
  // Without room for any, the first is made all the same, for its check of memory says what is missing.
  return search.best ?? fresh[0]!
}

/** The choices that were looked at, each once, and the best of them. */
class StickySearch {
  readonly holdings: Holdings
  readonly #placeable: Placeable
  readonly #considered = new Map<string, Choice>() // by what it says
  #best: Choice | null = null
  #leastMoved = Number.POSITIVE_INFINITY

  constructor(placeable: Placeable) {
    this.holdings = new Holdings(placeable.topology)
    this.#placeable = placeable
  }

  get considered(): readonly Choice[] {
    return [...this.#considered.values()]
  }

  /** Null as long as memory had room for none. */
  get best(): Choice | null {
    return this.#best
  }

  consider(choice: Choice): void {
    const key = `${choice.stageOf}|${choice.mesh.workerAt}`
    if (this.#considered.has(key)) return
    this.#considered.set(key, choice)
    const { tensors, topology } = this.#placeable
    const placed = placeAll(tensors, choice)
    const moved = movedBytes({ workers: choice.mesh.workers, tensors: placed }, topology, this.holdings)
    if (moved >= this.#leastMoved || !hasRoom(placed, choice.mesh, topology)) return
    this.#best = choice
    this.#leastMoved = moved
  }

  /** Of all stages with the workers at these places those that move least, unless the policy has chosen them. */
  considerLeastMoves(mesh: Mesh): void {
    const { tensors, units, topology, stages } = this.#placeable
    if (stages?.layers !== undefined) return
    const moved = movedByStage(this.#placeable, mesh, this.holdings)
    const stageOf = stagesThatMoveLeast(moved, new Loads(tensors, units.length, mesh, topology), mesh.size.pp)
    if (stageOf !== null) this.consider({ by: 'sticky', stageOf, mesh })
  }
}

/** The same places with whole hosts exchanged so that most is where it has to be; null when they are right as they are. */
function exchangeHosts(placeable: Placeable, choice: Choice, holdings: Holdings): Mesh | null {
  const { mesh } = choice
  const { topology } = placeable
  const workersOf = topology.hosts.map(({ name }) => {
    return [...mesh.workers.keys()].filter((worker) => mesh.workers[worker]!.host === name)
  })
  const costs = savedBytes(placeable, choice, holdings).map((bytes, owner) => {
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
  const workerAt = mesh.workerAt.map((worker) => taking.get(worker)!)
  return new Mesh(mesh.size, topology, workerAt)
}

/** The bytes that need not move when a host takes another's places: by the host whose places they are, and the taker. */
function savedBytes(
  { tensors, topology }: Placeable,
  { mesh, stageOf }: Choice,
  holdings: Holdings,
): readonly (readonly number[])[] {
  const byHost = partsByHost(topology.hosts, mesh.workers)
  const placer = new TensorPlacer(mesh)
  const saved = topology.hosts.map(() => topology.hosts.map(() => 0))
  for (const tensor of tensors) {
    const { held, bytes } = holdings.of(tensor.tensor)
    if (held.size === 0 || tensor.pinned.length > 0) continue
    const { parts } = placer.place(tensor, placer.stages(tensor, stageOf))
    for (const [owner, needed] of byHost(parts)) {
      for (const [taker, list] of held) saved[owner]![taker]! += bytes.common(needed, list)
    }
  }
  return saved
}

/** The bytes that move for each unit in each stage. */
function movedByStage({ tensors, units, topology }: Placeable, mesh: Mesh, holdings: Holdings): readonly number[][] {
  const byHost = partsByHost(topology.hosts, mesh.workers)
  const placer = new TensorPlacer(mesh)
  const moved = units.map(() => Array.from({ length: mesh.size.pp }, () => 0))
  for (const tensor of tensors) {
    if (tensor.needs.units.length === 0) continue
    for (let stage = 0; stage < mesh.size.pp; stage++) {
      const bytes = movedBytesOf(placer.place(tensor, [stage]), holdings, byHost)
      for (const unit of tensor.needs.units) moved[unit]![stage]! += bytes
    }
  }
  return moved
}

function placeAll(tensors: readonly PlaceableTensor[], { stageOf, mesh }: Choice): readonly UnexplainedTensor[] {
  const placer = new TensorPlacer(mesh)
  return tensors.map((tensor) => placer.place(tensor, placer.stages(tensor, stageOf)))
}

function hasRoom(placed: readonly UnexplainedTensor[], { workers }: Mesh, topology: Topology): boolean {
  const hosts = plannedHosts(topology)
  try {
    checkMemory({ hosts, workers, totals: totalsOf({ hosts, workers, tensors: placed }) })
    return true
  } catch (error) {
    if (error instanceof PlacementError && error.code === 'MEMORY_EXCEEDED') return false
    throw error
  }
}
