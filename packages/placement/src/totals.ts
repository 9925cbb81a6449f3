import { type Dtype, dtypeBits, extentsOf, quoteName, resolveSelected, type SelectedRange } from '@onecopy/safetensors'
import { PlacementError } from './errors.ts'
import type { Part, PlacedTensor, PlanData, PlanTotals } from './plan-data.ts'
import { countElements, elementsByteLength } from './region.ts'

/** How large a part is, and whether it can be read where it lies in its file. */
export interface PartSize {
  readonly byteLength: number
  /** Whether it is one run of the tensor's bytes; otherwise each host that has it gathers it into an arena. */
  readonly inPlace: boolean
}

/**
 * The size of a part of a tensor.
 *
 * @throws SafetensorsError as `resolveSelected` does
 */
export function partSize(dtype: Dtype, shape: readonly number[], ranges: readonly SelectedRange[]): PartSize {
  const byteLength = elementsByteLength(dtype, countElements(shape, ranges))
  // Several extents are never one run; laying out every box of them would only show that elements fill whole bytes.
  const several = ranges.some((range) => extentsOf(range).length > 1)
  if (several && dtypeBits(dtype) % 8 === 0) return { byteLength, inPlace: byteLength === 0 }
  const { contiguous, byteLength: resolved } = resolveSelected(dtype, shape, ranges)
  return { byteLength: resolved, inPlace: contiguous }
}

/** What follows from who holds what. Tensors that share dtype, shape and the very same array of parts are counted at once. */
export function totalsOf(data: Pick<PlanData, 'hosts' | 'workers' | 'tensors'>): PlanTotals {
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

/** One tensor for all that have its dtype, its shape and its parts, the parts being the same array. */
export interface AlikeTensors {
  readonly tensor: PlacedTensor
  readonly count: number
}

/** The tensors of a plan without those that are placed just as an earlier one, in the order of the first of each kind. */
export function alikeTensors(tensors: readonly PlacedTensor[]): readonly AlikeTensors[] {
  const kinds = new Map<readonly Part[], Map<string, { tensor: PlacedTensor; count: number }>>()
  const list: AlikeTensors[] = []
  for (const tensor of tensors) {
    let byShape = kinds.get(tensor.parts)
    if (byShape === undefined) {
      byShape = new Map()
      kinds.set(tensor.parts, byShape)
    }
    const key = kindOf(tensor)
    const kind = byShape.get(key)
    if (kind !== undefined) {
      kind.count++
      continue
    }
    const first = { tensor, count: 1 }
    byShape.set(key, first)
    list.push(first)
  }
  return list
}

/** A text that tensors of the same dtype and shape share. */
export function kindOf({ dtype, shape }: Pick<PlacedTensor, 'dtype' | 'shape'>): string {
  return `${dtype} ${shape.join()}`
}

/** Something whose limit is exceeded; all in bytes. */
export interface MemoryShortage {
  readonly kind: 'worker' | 'numaNode' | 'host'
  readonly worker?: string
  readonly host: string
  readonly numaNode?: number // position in the host's nodes
  readonly neededBytes: number
  readonly availableBytes: number
  readonly missingBytes: number
}

/**
 * Checks every limit of the workers, NUMA nodes and hosts against the totals.
 *
 * @throws PlacementError MEMORY_EXCEEDED for what misses most; `details.shortages` lists all, worst first
 */
export function checkMemory(data: Pick<PlanData, 'hosts' | 'workers' | 'totals'>): void {
  const shortages: MemoryShortage[] = []
  const check = (
    where: Pick<MemoryShortage, 'kind' | 'host' | 'worker' | 'numaNode'>,
    neededBytes: number,
    availableBytes: number | null,
  ) => {
    if (availableBytes === null || neededBytes <= availableBytes) return
    shortages.push({ ...where, neededBytes, availableBytes, missingBytes: neededBytes - availableBytes })
  }
  for (const [place, { name: host, memoryBytes, numaNodes }] of data.hosts.entries()) {
    const totals = data.totals.hosts[place]!
    check({ kind: 'host', host }, totals.uniqueBytes, memoryBytes)
    for (const [numaNode, node] of numaNodes.entries()) {
      check({ kind: 'numaNode', host, numaNode }, totals.numaNodes[numaNode]!, node.memoryBytes)
    }
  }
  for (const [place, { name, host, memoryBytes }] of data.workers.entries()) {
    check({ kind: 'worker', worker: name, host }, data.totals.workers[place]!, memoryBytes)
  }
  if (shortages.length === 0) return
  shortages.sort((a, b) => b.missingBytes - a.missingBytes)
  const { worker, host, neededBytes, availableBytes, missingBytes } = shortages[0]!
  const missing = missingBytes === 1 ? '1 byte is' : `${missingBytes} bytes are`
  const more = shortages.length - 1
  const others = more === 0 ? '' : `; ${more} other ${more === 1 ? 'limit is' : 'limits are'} exceeded too`
  throw new PlacementError(
    'MEMORY_EXCEEDED',
    `${subjectOf(shortages[0]!)} needs ${neededBytes} bytes, but has ${availableBytes}: ${missing} missing${others}`,
    {
      host,
      ...(worker === undefined ? {} : { worker }),
      details: { neededBytes, availableBytes, missingBytes, shortages },
    },
  )
}

function subjectOf({ kind, worker, host, numaNode }: MemoryShortage): string {
  if (kind === 'worker') return `Worker ${quoteName(worker!)}`
  return kind === 'host' ? `Host ${quoteName(host)}` : `NUMA node ${numaNode} of host ${quoteName(host)}`
}
