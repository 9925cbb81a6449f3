import { Holdings, heldBytes } from './holdings.ts'
import type { PlanData } from './plan-data.ts'
import { countElements, elementsByteLength } from './region.ts'
import type { Topology } from './topology.ts'

/** A plan's hosts, workers and tensors; without their reasons. */
export type MovablePlan = Pick<PlanData, 'workers'> & {
  readonly tensors: readonly Omit<PlanData['tensors'][number], 'reason'>[]
}

/**
 * The bytes that hosts need by a plan and do not have yet, each counted once for each host that lacks it.
 *
 * @param topology with the hosts that the plan's workers are on, and what they hold
 */
export function movedBytes({ workers, tensors }: MovablePlan, topology: Topology): number {
  const holdings = new Holdings(topology)
  const hostsOf = hostFinder(workers, topology)
  let moved = 0
  for (const tensor of tensors) moved += movedBytesOf(tensor, holdings, hostsOf)
  return moved
}

/** The same for one tensor. */
export function movedBytesOf(
  tensor: MovablePlan['tensors'][number],
  holdings: Holdings,
  hostsOf: (workers: readonly number[]) => readonly number[],
): number {
  let moved = 0
  const known = holdings.of(tensor)
  for (const { ranges, workers } of tensor.parts) {
    const hosts = hostsOf(workers)
    moved += elementsByteLength(tensor.dtype, countElements(tensor.shape, ranges)) * hosts.length
    if (known !== null) for (const host of hosts) moved -= heldBytes(known, tensor, ranges, host)
  }
  return moved
}

/** Gives the hosts of a list of workers, as positions in the topology; lists are remembered by identity. */
export function hostFinder(
  workers: MovablePlan['workers'],
  { hosts }: Topology,
): (workers: readonly number[]) => readonly number[] {
  const places = new Map(hosts.map(({ name }, place) => [name, place]))
  const hostOf = workers.map(({ host }) => places.get(host)!)
  const known = new Map<readonly number[], readonly number[]>()
  return (list) => {
    let found = known.get(list)
    if (found === undefined) {
      found = [...new Set(list.map((worker) => hostOf[worker]!))]
      known.set(list, found)
    }
    return found
  }
}
