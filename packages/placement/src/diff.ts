import { compareUtf8 } from '@onecopy/safetensors'
import { PlacementError } from './errors.ts'
import type { Part, PlacedTensor, PlanData } from './plan-data.ts'
import { commonElements, countElements, elementsByteLength } from './region.ts'
import { kindOf } from './totals.ts'

/** Bytes that change between two plans, each counted once for a host, however many of its workers read it. */
export interface MovedBytes {
  /** Had after, but not before: they have to be fetched. */
  readonly movedBytes: number
  /** Had before, but not after. */
  readonly freedBytes: number
}

/** What changes on one host. */
export interface HostDiff extends MovedBytes {
  readonly host: string
  /** Had before and after. */
  readonly keptBytes: number
  /** Only those of which something is moved or freed, most bytes first. */
  readonly tensors: readonly ({ readonly name: string } & MovedBytes)[]
}

/** What has to happen for one plan to follow another. */
export interface PlanDiff extends MovedBytes {
  readonly previousId: string
  readonly id: string
  readonly keptBytes: number
  /** The hosts of the later plan, then those that only the earlier one has. */
  readonly hosts: readonly HostDiff[]
}

/** A plan, as far as comparing needs it. */
export interface ComparedPlan {
  readonly id: string
  readonly data: PlanData
}

/**
 * Compares two plans for the same checkpoint by the hosts' names.
 *
 * @throws PlacementError PLAN_OTHER_CHECKPOINT where the layouts differ
 */
export function diffPlans(previous: ComparedPlan, plan: ComparedPlan): PlanDiff {
  if (previous.data.layout !== plan.data.layout) {
    const message = `The plans are for different checkpoints: the previous one has layout ${previous.data.layout}, this one ${plan.data.layout}`
    const details = { layout: plan.data.layout, previousLayout: previous.data.layout }
    throw new PlacementError('PLAN_OTHER_CHECKPOINT', message, { details })
  }
  const hosts = new Map<
    string,
    { moved: number; freed: number; kept: number; tensors: HostDiff['tensors'][number][] }
  >()
  for (const { name } of [...plan.data.hosts, ...previous.data.hosts]) {
    if (!hosts.has(name)) hosts.set(name, { moved: 0, freed: 0, kept: 0, tensors: [] })
  }
  const changesOf = comparer(previous.data, plan.data)
  const before = new Map(previous.data.tensors.map((tensor) => [tensor.name, tensor]))
  for (const tensor of plan.data.tensors) {
    for (const { host, movedBytes, freedBytes, keptBytes } of changesOf(before.get(tensor.name)!, tensor)) {
      const sums = hosts.get(host)!
      sums.moved += movedBytes
      sums.freed += freedBytes
      sums.kept += keptBytes
      if (movedBytes + freedBytes > 0) sums.tensors.push({ name: tensor.name, movedBytes, freedBytes })
    }
  }
  const list = Array.from(hosts, ([host, { moved, freed, kept, tensors }]): HostDiff => {
    tensors.sort((a, b) => bytesOf(b) - bytesOf(a) || compareUtf8(a.name, b.name))
    return { host, movedBytes: moved, freedBytes: freed, keptBytes: kept, tensors }
  })
  const sum = (count: (host: HostDiff) => number) => list.reduce((bytes, host) => bytes + count(host), 0)
  return {
    previousId: previous.id,
    id: plan.id,
    movedBytes: sum(({ movedBytes }) => movedBytes),
    freedBytes: sum(({ freedBytes }) => freedBytes),
    keptBytes: sum(({ keptBytes }) => keptBytes),
    hosts: list,
  }
}

function bytesOf({ movedBytes, freedBytes }: MovedBytes): number {
  return movedBytes + freedBytes
}

type Changes = readonly Omit<HostDiff, 'tensors'>[]

/** Compares tensors; those of one dtype and shape that share their arrays of parts before and after, only once. */
function comparer(previous: PlanData, plan: PlanData): (before: PlacedTensor, after: PlacedTensor) => Changes {
  const known = new Map<readonly Part[], Map<readonly Part[], Map<string, Changes>>>()
  return (before, after) => {
    const byAfter = getOrMake(known, before.parts, () => new Map())
    const byKind = getOrMake(byAfter, after.parts, () => new Map())
    return getOrMake(byKind, kindOf(after), () => {
      const had = partsByHost(previous, before.parts)
      const has = partsByHost(plan, after.parts)
      const hosts = new Set([...has.keys(), ...had.keys()])
      return Array.from(hosts, (host) => compareHost(after, host, had.get(host) ?? [], has.get(host) ?? []))
    })
  }
}

function compareHost(tensor: PlacedTensor, host: string, had: readonly Part[], has: readonly Part[]): Changes[number] {
  const { dtype, shape } = tensor
  // Parts are disjoint, so that what they have in common, pair by pair, is counted once.
  let common = 0
  for (const { ranges } of has) {
    for (const other of had) common += commonElements(shape, ranges, other.ranges)
  }
  const bytes = (elements: number) => elementsByteLength(dtype, elements)
  const after = has.reduce((sum, { ranges }) => sum + countElements(shape, ranges), 0)
  const before = had.reduce((sum, { ranges }) => sum + countElements(shape, ranges), 0)
  return { host, movedBytes: bytes(after - common), freedBytes: bytes(before - common), keptBytes: bytes(common) }
}

function partsByHost({ workers }: PlanData, parts: readonly Part[]): Map<string, Part[]> {
  const byHost = new Map<string, Part[]>()
  for (const part of parts) {
    for (const host of new Set(part.workers.map((worker) => workers[worker]!.host))) {
      getOrMake(byHost, host, () => []).push(part)
    }
  }
  return byHost
}

function getOrMake<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key)
  if (value === undefined) {
    value = make()
    map.set(key, value)
  }
  return value
}
