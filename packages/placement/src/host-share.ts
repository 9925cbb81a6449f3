import type { SelectedTensor } from '@onecopy/safetensors'
import { partsByHost } from './host-parts.ts'
import type { PlanData } from './plan-data.ts'
import { isWhole } from './region.ts'

/** A host, and what its workers hold together, each byte counted once. */
export interface HostShare {
  readonly name: string
  readonly memoryBytes: number | null // null: no limit
  readonly uniqueBytes: number
  /** Of these, the bytes that are read where they lie in their files. */
  readonly fileBytes: number
  /** Of these, the bytes that are gathered into an arena. */
  readonly arenaBytes: number
  readonly numaNodes: readonly { readonly memoryBytes: number | null; readonly uniqueBytes: number }[]
  readonly workers: readonly string[] // in the topology's order
}

/** @param host a position in the plan's hosts */
export function hostShare({ hosts, workers, totals }: PlanData, host: number): HostShare {
  const { name, memoryBytes, numaNodes } = hosts[host]!
  const { uniqueBytes, arenaBytes, numaNodes: nodeBytes } = totals.hosts[host]!
  return {
    name,
    memoryBytes,
    uniqueBytes,
    fileBytes: uniqueBytes - arenaBytes,
    arenaBytes,
    numaNodes: numaNodes.map((node, at) => ({ memoryBytes: node.memoryBytes, uniqueBytes: nodeBytes[at]! })),
    workers: workers.filter((worker) => worker.host === name).map((worker) => worker.name),
  }
}

/**
 * Every part that at least one worker of a host holds, each once, in plan order; a tensor comes as often as it has such parts.
 *
 * @param host a position in the plan's hosts
 */
export function holdingsOf({ hosts, workers, tensors }: PlanData, host: number): readonly SelectedTensor[] {
  const byHost = partsByHost(hosts, workers)
  return tensors.flatMap(({ name, shape, parts }) => {
    return (byHost(parts).get(host) ?? []).map((ranges) => selectedTensor(name, shape, ranges))
  })
}

/** Whole tensors are named without ranges. */
export function selectedTensor(
  name: string,
  shape: readonly number[],
  ranges: NonNullable<SelectedTensor['ranges']>,
): SelectedTensor {
  return isWhole(shape, ranges) ? { name } : { name, ranges }
}
