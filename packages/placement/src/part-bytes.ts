import type { SelectedRange } from '@onecopy/safetensors'
import { getOrMake } from './get-or-make.ts'
import type { HostParts } from './host-parts.ts'
import { commonElements, countElements, elementsByteLength } from './region.ts'
import { kindOf, type Shaped } from './shaped.ts'

/** Bytes of parts of tensors that have the same dtype and shape. What was counted is remembered by the lists' identity. */
export class PartBytes {
  readonly #tensor: Shaped
  readonly #sums = new Map<HostParts, number>()
  readonly #common = new Map<readonly SelectedRange[], Map<HostParts, number>>()

  constructor(tensor: Shaped) {
    this.#tensor = tensor
  }

  /** Bytes of disjoint parts. */
  sum(parts: HostParts): number {
    const { dtype, shape } = this.#tensor
    return getOrMake(this.#sums, parts, () => {
      return parts.reduce((sum, ranges) => sum + elementsByteLength(dtype, countElements(shape, ranges)), 0)
    })
  }

  /** Bytes of disjoint parts that are in what is held too, each once, although what is held may overlap. */
  common(parts: HostParts, held: HostParts): number {
    if (held.length === 0) return 0
    const { dtype, shape } = this.#tensor
    let bytes = 0
    for (const ranges of parts) {
      const byHeld = getOrMake(this.#common, ranges, () => new Map())
      bytes += getOrMake(byHeld, held, () => elementsByteLength(dtype, commonElements(shape, ranges, held)))
    }
    return bytes
  }
}

/** The counts of all tensors, one for those of the same dtype and shape. */
export class BytesByKind {
  readonly #kinds = new Map<string, PartBytes>()

  of(tensor: Shaped): PartBytes {
    return getOrMake(this.#kinds, kindOf(tensor), () => new PartBytes(tensor))
  }
}
