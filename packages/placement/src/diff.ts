import { compareUtf8 } from '@onecopy/safetensors'
import { PlacementError } from './errors.ts'
import { type HostParts, partsByHost } from './host-parts.ts'
import { BytesByKind } from './part-bytes.ts'
import type { PlanData } from './plan-data.ts'

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

const NOTHING: HostParts = []

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
  const hosts = changesByHost(previous.data, plan.data)
  const sum = (count: (host: HostDiff) => number) => hosts.reduce((bytes, host) => bytes + count(host), 0)
  return {
    previousId: previous.id,
    id: plan.id,
    movedBytes: sum(({ movedBytes }) => movedBytes),
    freedBytes: sum(({ freedBytes }) => freedBytes),
    keptBytes: sum(({ keptBytes }) => keptBytes),
    hosts,
  }
}

function changesByHost(previous: PlanData, plan: PlanData): readonly HostDiff[] {
  const hosts = [...new Map([...plan.hosts, ...previous.hosts].map((host) => [host.name, host])).values()]
  const changes = hosts.map(({ name }) => {
    return { host: name, movedBytes: 0, freedBytes: 0, keptBytes: 0, tensors: [] as HostDiff['tensors'][number][] }
  })
  const hadByHost = partsByHost(hosts, previous.workers)
  const hasByHost = partsByHost(hosts, plan.workers)
  const before = new Map(previous.tensors.map((tensor) => [tensor.name, tensor]))
  const kinds = new BytesByKind()
  for (const tensor of plan.tensors) {
    const hadBy = hadByHost(before.get(tensor.name)!.parts) // the layouts are the same, and so are the names
    const hasBy = hasByHost(tensor.parts)
    const bytes = kinds.of(tensor)
    for (const place of new Set([...hasBy.keys(), ...hadBy.keys()])) {
      const [had, has] = [hadBy.get(place) ?? NOTHING, hasBy.get(place) ?? NOTHING]
      const keptBytes = bytes.common(has, had)
      const [movedBytes, freedBytes] = [bytes.sum(has) - keptBytes, bytes.sum(had) - keptBytes]
      const change = changes[place]!
      change.movedBytes += movedBytes
      change.freedBytes += freedBytes
      change.keptBytes += keptBytes
      if (movedBytes + freedBytes > 0) change.tensors.push({ name: tensor.name, movedBytes, freedBytes })
    }
  }
  for (const { tensors } of changes) {
    tensors.sort((a, b) => changedBytes(b) - changedBytes(a) || compareUtf8(a.name, b.name))
  }
  return changes
}

function changedBytes({ movedBytes, freedBytes }: MovedBytes): number {
  return movedBytes + freedBytes
}
