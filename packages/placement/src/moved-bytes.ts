import { Holdings } from './holdings.ts'
import { type HostParts, partsByHost } from './host-parts.ts'
import type { Part, PlanData, UnexplainedTensor } from './plan-data.ts'
import type { Topology } from './topology.ts'

/** As much of a plan as it takes to say what moves. */
export interface MovablePlan extends Pick<PlanData, 'workers'> {
  readonly tensors: readonly UnexplainedTensor[]
}

/**
 * The bytes that hosts need by a plan and do not have yet, each counted once for each host that lacks it.
 *
 * @param topology with the hosts that the plan's workers are on
 * @param holdings what they have; remembers what was counted before
 */
export function movedBytes(
  { workers, tensors }: MovablePlan,
  topology: Topology,
  holdings: Holdings = new Holdings(topology),
): number {
  const byHost = partsByHost(topology.hosts, workers)
  return tensors.reduce((sum, tensor) => sum + movedBytesOf(tensor, holdings, byHost), 0)
}

/** The same for one tensor. */
export function movedBytesOf(
  tensor: UnexplainedTensor,
  holdings: Holdings,
  byHost: (parts: readonly Part[]) => ReadonlyMap<number, HostParts>,
): number {
  const { held, bytes } = holdings.of(tensor)
  let moved = 0
  for (const [host, needed] of byHost(tensor.parts)) {
    moved += bytes.sum(needed) - bytes.common(needed, held.get(host) ?? [])
  }
  return moved
}
