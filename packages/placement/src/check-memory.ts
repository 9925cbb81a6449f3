import { quoteName } from '@onecopy/safetensors'
import { PlacementError } from './errors.ts'
import type { PlanData } from './plan-data.ts'

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
  throw memoryExceeded(shortages.sort((a, b) => b.missingBytes - a.missingBytes))
}

/** @param shortages at least one, worst first */
function memoryExceeded(shortages: readonly MemoryShortage[]): PlacementError {
  const [worst] = shortages
  const { worker, host, neededBytes, availableBytes, missingBytes } = worst!
  const missing = missingBytes === 1 ? '1 byte is' : `${missingBytes} bytes are`
  const more = shortages.length - 1
  const others = more === 0 ? '' : `; ${more} other ${more === 1 ? 'limit is' : 'limits are'} exceeded too`
  return new PlacementError(
    'MEMORY_EXCEEDED',
    `${subjectOf(worst!)} needs ${neededBytes} bytes, but has ${availableBytes}: ${missing} missing${others}`,
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
