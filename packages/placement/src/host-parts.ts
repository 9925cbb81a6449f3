import type { SelectedRange } from '@onecopy/safetensors'
import { getOrMake } from './get-or-make.ts'
import type { Part, PlannedWorker } from './plan-data.ts'

/** What a host has of one tensor, part by part. */
export type HostParts = readonly (readonly SelectedRange[])[]

/**
 * Makes a function that gives what each host has of a tensor with such parts, by the host's position. Arrays of parts are
 * remembered by identity, and hosts with the same parts have the same list, so that others can remember by that.
 */
export function partsByHost(
  hosts: readonly { readonly name: string }[],
  workers: readonly Pick<PlannedWorker, 'host'>[],
): (parts: readonly Part[]) => ReadonlyMap<number, HostParts> {
  const places = new Map(hosts.map(({ name }, place) => [name, place]))
  const hostOf = workers.map(({ host }) => places.get(host)!)
  const known = new Map<readonly Part[], ReadonlyMap<number, HostParts>>()
  return (parts) => getOrMake(known, parts, () => group(parts, hostOf))
}

function group(parts: readonly Part[], hostOf: readonly number[]): ReadonlyMap<number, HostParts> {
  const places = new Map<number, number[]>() // of parts, by host
  for (const [place, { workers }] of parts.entries()) {
    for (const host of new Set(workers.map((worker) => hostOf[worker]!))) {
      getOrMake(places, host, () => []).push(place)
    }
  }
  const lists = new Map<string, HostParts>()
  const listOf = (held: readonly number[]) => {
    return getOrMake(lists, held.join(), () => held.map((place) => parts[place]!.ranges))
  }
  return new Map(Array.from(places, ([host, held]) => [host, listOf(held)]))
}
