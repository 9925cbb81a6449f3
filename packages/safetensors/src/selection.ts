import type { Dtype } from './dtype.ts'
import { quoteName, SafetensorsError } from './errors.ts'
import { resolveSlice } from './slice.ts'

/** One tensor of a {@link Selection}, or a part of it. */
export interface SelectedTensor {
  readonly name: string
  /** Half-open, one for each dimension from the outermost on; dimensions without one are whole. @default the whole tensor */
  readonly ranges?: readonly (readonly [start: number, stop: number])[] | undefined
}

/** What part of a checkpoint somebody wants: plain data, fit for JSON. A tensor is named at most once. */
export interface Selection {
  readonly tensors: readonly SelectedTensor[]
}

/**
 * Checks a selection against the tensors that there are. It may come from JSON, so its form is checked too.
 *
 * @param lookup gives a tensor's dtype and shape, undefined for a name that there is not
 * @throws SafetensorsError SAFETENSORS_INVALID_SELECTION for a wrong form, an unknown name or a name given twice, and as
 * `resolveSlice` does for ranges that do not fit their tensor.
 */
export function validateSelection(
  selection: Selection,
  lookup: (name: string) => { readonly dtype: Dtype; readonly shape: readonly number[] } | undefined,
): void {
  if (!Array.isArray(selection?.tensors)) throw invalid('A selection must be an object with an array of tensors')
  const seen = new Set<string>()
  for (const selected of selection.tensors as readonly SelectedTensor[]) {
    const name = selected?.name
    if (typeof name !== 'string') throw invalid('Every selected tensor must be an object with a name')
    if (seen.has(name)) throw invalid(`Tensor ${quoteName(name)} is selected twice`, name)
    seen.add(name)
    const info = lookup(name)
    if (info === undefined) throw invalid(`Tensor ${quoteName(name)} is selected, but there is none of that name`, name)
    if (selected.ranges === undefined) continue
    if (!Array.isArray(selected.ranges) || !selected.ranges.every(isRange)) {
      throw invalid(`The ranges of tensor ${quoteName(name)} must be an array of [start, stop]`, name)
    }
    resolveSlice(info.dtype, info.shape, selected.ranges, name)
  }
}

function isRange(range: unknown): boolean {
  return Array.isArray(range) && range.length === 2 && range.every((bound) => typeof bound === 'number')
}

function invalid(message: string, tensor?: string): SafetensorsError {
  return new SafetensorsError('SAFETENSORS_INVALID_SELECTION', message, { tensor })
}
