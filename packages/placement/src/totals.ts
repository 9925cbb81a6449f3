import { alikeTensors } from './alike-tensors.ts'
import { partSize } from './part-size.ts'
import type { PlanData, PlanTotals, UnexplainedTensor } from './plan-data.ts'

/** As much of a plan as totals follow from. */
export interface PlacedParts extends Pick<PlanData, 'hosts' | 'workers'> {
  readonly tensors: readonly UnexplainedTensor[]
}

/** What follows from who holds what. Tensors that share dtype, shape and the very same array of parts are counted at once. */
export function totalsOf(data: PlacedParts): PlanTotals {
  const workers = data.workers.map(() => 0)
  const hosts = data.hosts.map(({ numaNodes }) => {
    return { uniqueBytes: 0, arenaBytes: 0, numaNodes: numaNodes.map(() => 0) }
  })
  const hostPlaces = new Map(data.hosts.map(({ name }, place) => [name, place]))
  const hostOf = data.workers.map(({ host }) => hostPlaces.get(host)!)
  let total = 0
  for (const { tensor, count } of alikeTensors(data.tensors)) {
    total += (tensor.end - tensor.begin) * count
    for (const { ranges, workers: holders } of tensor.parts) {
      const { byteLength, inPlace } = partSize(tensor.dtype, tensor.shape, ranges)
      const bytes = byteLength * count
      const counted = new Map<number, Set<number>>() // NUMA nodes that have the part, by host
      for (const holder of holders) {
        workers[holder]! += bytes
        const place = hostOf[holder]!
        const host = hosts[place]!
        let nodes = counted.get(place)
        if (nodes === undefined) {
          nodes = new Set()
          counted.set(place, nodes)
          host.uniqueBytes += bytes
          if (!inPlace) host.arenaBytes += bytes
        }
        const { numaNode } = data.workers[holder]!
        if (nodes.has(numaNode)) continue
        nodes.add(numaNode)
        host.numaNodes[numaNode]! += bytes
      }
    }
  }
  return { byteLength: total, workers, hosts }
}
