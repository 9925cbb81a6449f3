import { type Dtype, extentsOf, quoteName, type SelectedRange } from '@onecopy/safetensors'
import { PlacementError } from './errors.ts'
import type { PlacedTensor } from './plan-data.ts'
import { elementsByteLength, intersectUnion } from './region.ts'
import type { Topology } from './topology.ts'
import { kindOf } from './totals.ts'

/** What a host has of a tensor: the same object wherever the ranges are the same. */
type Held = readonly (readonly SelectedRange[])[]

/** A tensor as far as bytes of its parts are concerned. */
type Sized = Pick<PlacedTensor, 'name' | 'dtype' | 'shape'>

/** What hosts have of one tensor. */
export interface TensorHoldings {
  /** By position of the host. */
  readonly held: ReadonlyMap<number, Held>
  /** Bytes that are known already, by the part's ranges; shared by tensors of the same type and shape. */
  readonly bytes: Map<readonly SelectedRange[], Map<Held, number>>
}

/** What hosts have already. */
export class Holdings {
  readonly #held = new Map<string, Map<number, Held>>() // by name and host
  readonly #bytes = new Map<string, TensorHoldings['bytes']>() // by dtype and shape
  readonly #tensors = new Map<string, TensorHoldings | null>() // by name

  constructor({ hosts }: Topology) {
    const known = new Map<string, Held>()
    for (const [host, { holds = [] }] of hosts.entries()) {
      const byName = new Map<string, (readonly SelectedRange[])[]>()
      for (const { name, ranges = [] } of holds) {
        const list = byName.get(name)
        if (list === undefined) byName.set(name, [ranges])
        else list.push(ranges)
      }
      for (const [name, held] of byName) {
        const text = JSON.stringify(held)
        const same = known.get(text) ?? held
        known.set(text, same)
        const byHost = this.#held.get(name) ?? new Map<number, Held>()
        byHost.set(host, same)
        this.#held.set(name, byHost)
      }
    }
  }

  /** Whether no host has anything. */
  get empty(): boolean {
    return this.#held.size === 0
  }

  /** What hosts have of a tensor, null for nothing. */
  of(tensor: Sized): TensorHoldings | null {
    const known = this.#tensors.get(tensor.name)
    if (known !== undefined) return known
    const held = this.#held.get(tensor.name)
    let holdings: TensorHoldings | null = null
    if (held !== undefined) {
      const kind = kindOf(tensor)
      const bytes = this.#bytes.get(kind) ?? new Map()
      this.#bytes.set(kind, bytes)
      holdings = { held, bytes }
    }
    this.#tensors.set(tensor.name, holdings)
    return holdings
  }
}

/**
 * Bytes of a part that a host has, each once.
 *
 * @param holdings of the tensor
 * @param host its position
 */
export function heldBytes(
  { held, bytes }: TensorHoldings,
  { dtype, shape }: Sized,
  ranges: readonly SelectedRange[],
  host: number,
): number {
  const list = held.get(host)
  if (list === undefined) return 0
  let byHeld = bytes.get(ranges)
  if (byHeld === undefined) {
    byHeld = new Map()
    bytes.set(ranges, byHeld)
  }
  let found = byHeld.get(list)
  if (found === undefined) {
    found = elementsByteLength(dtype, intersectUnion(shape, ranges, list))
    byHeld.set(list, found)
  }
  return found
}

/**
 * Checks that what hosts have fits the tensors of that name. Names that the checkpoint does not have are nobody's business.
 *
 * @throws PlacementError TOPOLOGY_INVALID naming the host and the tensor
 */
export function checkHoldings(
  { hosts }: Topology,
  tensors: readonly { readonly name: string; readonly dtype: Dtype; readonly shape: readonly number[] }[],
): void {
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
