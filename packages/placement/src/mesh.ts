import { PlacementError } from './errors.ts'
import { getOrMake } from './get-or-make.ts'
import type { PlanData, PlannedHost, PlannedWorker } from './plan-data.ts'
import type { MeshShape } from './policy.ts'
import type { Topology } from './topology.ts'

/** How many positions each axis has. */
export type MeshSize = PlanData['mesh']

/** A mesh with nothing left out. */
export function meshSize({ pp = 1, tp = 1, ep = 1, replicas = 1 }: MeshShape = {}): MeshSize {
  return { pp, tp, ep, replicas }
}

/** The place at these positions; places count row by row, replicas outermost, then pp, ep and tp. */
export function placeIn(size: MeshSize, replica: number, pp: number, ep: number, tp: number): number {
  return ((replica * size.pp + pp) * size.ep + ep) * size.tp + tp
}

/** The hosts as a plan writes them. */
export function plannedHosts({ hosts }: Topology): readonly PlannedHost[] {
  return hosts.map(({ name, memoryBytes = null, numaNodes = [{}] }) => {
    return { name, memoryBytes, numaNodes: numaNodes.map((node) => ({ memoryBytes: node.memoryBytes ?? null })) }
  })
}

/** Which worker stands where. Lists of workers are made once, so that equal ones are the same object. */
export class Mesh {
  readonly size: MeshSize
  /** In the order of the topology. */
  readonly workers: readonly PlannedWorker[]
  /** The worker at each place, see {@link placeIn}. */
  readonly workerAt: readonly number[]
  readonly #lists = new Map<string, readonly number[]>()

  /**
   * @param workerAt the worker at each place; by default they take them in their own order
   * @throws PlacementError MESH_MISMATCH when there are not as many workers as places
   */
  constructor(size: MeshSize, topology: Topology, workerAt: readonly number[] = [...topology.workers.keys()]) {
    const { pp, tp, ep, replicas } = size
    const places = pp * tp * ep * replicas
    const workers = topology.workers.length
    if (workers !== places) {
      const product = `pp ${pp} × tp ${tp} × ep ${ep} × replicas ${replicas}`
      const message = `The mesh has ${places} places (${product}), but the topology has ${workers} workers`
      throw new PlacementError('MESH_MISMATCH', message, { details: { pp, tp, ep, replicas, places, workers } })
    }
    this.size = size
    this.workerAt = workerAt
    const placeOf: number[] = []
    for (const [place, worker] of workerAt.entries()) placeOf[worker] = place
    const numaNodes = dealNumaNodes(topology)
    this.workers = topology.workers.map(({ name, host, memoryBytes = null }, worker) => {
      const place = placeOf[worker]!
      return {
        name,
        host,
        numaNode: numaNodes[worker]!,
        memoryBytes,
        replica: Math.floor(place / (pp * ep * tp)),
        pp: Math.floor(place / (ep * tp)) % pp,
        ep: Math.floor(place / tp) % ep,
        tp: place % tp,
      }
    })
  }

  /**
   * The workers of some stages at some positions, of all replicas, rising.
   *
   * @param ep null: at every position; so for `tp`
   */
  holders(stages: readonly number[], ep: readonly number[] | null, tp: readonly number[] | null): readonly number[] {
    const key = `${stages}|${ep ?? ''}|${tp ?? ''}`
    return getOrMake(this.#lists, key, () => {
      const { size } = this
      const list: number[] = []
      for (let replica = 0; replica < size.replicas; replica++) {
        for (const stage of stages) {
          for (const e of ep ?? range(size.ep)) {
            for (const t of tp ?? range(size.tp)) list.push(this.workerAt[placeIn(size, replica, stage, e, t)]!)
          }
        }
      }
      return list.sort((a, b) => a - b)
    })
  }
}

/** Each worker's NUMA node: the one that it names, or by equal runs of its host's workers. */
function dealNumaNodes({ hosts, workers }: Topology): readonly number[] {
  const nodes = new Map(hosts.map(({ name, numaNodes }) => [name, numaNodes?.length ?? 1]))
  const counts = new Map<string, number>()
  for (const { host } of workers) counts.set(host, (counts.get(host) ?? 0) + 1)
  const dealt = new Map<string, number>()
  return workers.map(({ host, numaNode }) => {
    const nth = dealt.get(host) ?? 0
    dealt.set(host, nth + 1)
    return numaNode ?? Math.floor((nth * nodes.get(host)!) / counts.get(host)!)
  })
}

function range(length: number): readonly number[] {
  return Array.from({ length }, (_, position) => position)
}
