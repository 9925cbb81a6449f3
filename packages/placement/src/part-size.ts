import { type Dtype, dtypeBits, extentsOf, resolveSelected, type SelectedRange } from '@onecopy/safetensors'
import { countElements, elementsByteLength } from './region.ts'

/** How large a part is, and whether it can be read where it lies in its file. */
export interface PartSize {
  readonly byteLength: number
  /** Whether it is one run of the tensor's bytes; otherwise each host that has it gathers it into an arena. */
  readonly inPlace: boolean
}

/**
 * The size of a part of a tensor.
 *
 * @throws SafetensorsError as `resolveSelected` does
 */
export function partSize(dtype: Dtype, shape: readonly number[], ranges: readonly SelectedRange[]): PartSize {
  const byteLength = elementsByteLength(dtype, countElements(shape, ranges))
  // Several extents are never one run; laying out every box of them would only show that elements fill whole bytes.
  const several = ranges.some((range) => extentsOf(range).length > 1)
  if (several && dtypeBits(dtype) % 8 === 0) return { byteLength, inPlace: byteLength === 0 }
  const { contiguous, byteLength: resolved } = resolveSelected(dtype, shape, ranges)
  return { byteLength: resolved, inPlace: contiguous }
}
