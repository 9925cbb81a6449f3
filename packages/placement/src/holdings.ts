import { extentsOf, quoteName, type SelectedRange } from '@onecopy/safetensors'
import { PlacementError } from './errors.ts'
import { getOrMake } from './get-or-make.ts'
import type { HostParts } from './host-parts.ts'
import { BytesByKind, type PartBytes } from './part-bytes.ts'
import type { Shaped } from './shaped.ts'
import type { Topology } from './topology.ts'

/** What hosts have of one tensor, which may overlap, and what counts its bytes. */
export interface TensorHoldings {
  /** By position of the host; hosts that have nothing are left out. */
  readonly held: ReadonlyMap<number, HostParts>
  readonly bytes: PartBytes
}

const NOTHING: ReadonlyMap<number, HostParts> = new Map()

/** What hosts have already, by their topology. */
export class Holdings {
  readonly #held = new Map<string, Map<number, HostParts>>() // by name and host
  readonly #bytes = new BytesByKind()
  readonly #tensors = new Map<string, TensorHoldings>() // by name

  constructor({ hosts }: Topology) {
    // What is counted is remembered by list, so lists that say the same are made one.
    const lists = new Map<string, HostParts>()
    for (const [host, { holds = [] }] of hosts.entries()) {
      const byName = new Map<string, (readonly SelectedRange[])[]>()
      for (const { name, ranges = [] } of holds) getOrMake(byName, name, () => []).push(ranges)
      for (const [name, list] of byName) {
        const held = getOrMake(lists, JSON.stringify(list), () => list)
        getOrMake(this.#held, name, () => new Map()).set(host, held)
      }
    }
  }

  /** Whether no host has anything. */
  get empty(): boolean {
    return this.#held.size === 0
  }

  of(tensor: Shaped): TensorHoldings {
    return getOrMake(this.#tensors, tensor.name, () => {
      return { held: this.#held.get(tensor.name) ?? NOTHING, bytes: this.#bytes.of(tensor) }
    })
  }
}

/**
 * Checks that what hosts have fits the tensors of that name. Names that the checkpoint does not have are nobody's business.
 *
 * @throws PlacementError TOPOLOGY_INVALID naming the host and the tensor
 */
export function checkHoldings({ hosts }: Topology, tensors: readonly Shaped[]): void {
  if (hosts.every(({ holds = [] }) => holds.length === 0)) return
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]))
  for (const [at, { name: host, holds = [] }] of hosts.entries()) {
    for (const [nth, { name, ranges = [] }] of holds.entries()) {
      const shape = byName.get(name)?.shape
      if (shape === undefined) continue
      const fits = ranges.length <= shape.length
      if (fits && ranges.every((range, dimension) => extentsOf(range).at(-1)![1] <= shape[dimension]!)) continue
      const message = `Host ${quoteName(host)} holds ranges of tensor ${quoteName(name)} that its shape [${shape}] does not have`
      const field = `hosts[${at}].holds[${nth}].ranges`
      throw new PlacementError('TOPOLOGY_INVALID', message, { host, tensor: name, field })
    }
  }
}
