import type { Dtype } from './dtype.ts'
import { quoteName, SafetensorsError } from './errors.ts'
import { extentsOf, isExtent, resolveSelected, type SelectedRange, type SelectedSlice } from './selected-slice.ts'

/** One tensor of a {@link Selection}, or a part of it. */
export interface SelectedTensor {
  readonly name: string
  /** One for each dimension from the outermost on; dimensions without one are whole. @default the whole tensor */
  readonly ranges?: readonly SelectedRange[] | undefined
}

/** What part of a checkpoint somebody wants: plain data, fit for JSON. A tensor is named at most once. */
export interface Selection {
  readonly tensors: readonly SelectedTensor[]
  /** sha256 of `layoutText`, in hex, of the only checkpoint that this selection is meant for. @default any that fits */
  readonly layout?: string | undefined
}

/** What a selection is checked against: a tensor's dtype and shape, or undefined for a name that there is not. */
type Lookup<Info> = (name: string) => Info | undefined

// Half a gigabyte of boxes: twice as many as the largest checkpoint seen has tensors (497,000).
const MAX_SELECTED_BOXES = 2 ** 20

interface TensorForm {
  readonly dtype: Dtype
  readonly shape: readonly number[]
}

/** A selected part as bytes of its tensor, and what was looked up about the tensor. */
export interface ResolvedSelection<Info> {
  readonly name: string
  readonly ranges: readonly SelectedRange[]
  readonly slice: SelectedSlice
  readonly info: Info
}

/** As {@link resolveSelection}, for its errors alone. */
export function validateSelection(selection: Selection, lookup: Lookup<TensorForm>): void {
  resolveSelection(selection, lookup)
}

/**
 * Checks a selection against the tensors that there are, and works out its bytes. It may come from JSON, so its form is
 * checked too. `layout` is only checked for its form.
 *
 * @param lookup gives a tensor's dtype and shape, undefined for a name that there is not
 * @returns the parts in the order of the selection
 * @throws SafetensorsError SAFETENSORS_INVALID_SELECTION for a wrong form, an unknown name, a name given twice or more than 2^20
 * boxes together, and as `resolveSlice` does for ranges that do not fit their tensor.
 */
export function resolveSelection<Info extends TensorForm>(
  selection: Selection,
  lookup: Lookup<Info>,
): ResolvedSelection<Info>[] {
  if (!Array.isArray(selection?.tensors)) throw invalid('A selection must be an object with an array of tensors')
  const { layout } = selection
  const other = Object.keys(selection).find((member) => member !== 'layout' && member !== 'tensors')
  if (other !== undefined) {
    throw invalid(`A selection has a member ${quoteName(other)}; it may have layout and tensors`)
  }
  if (layout !== undefined && !(typeof layout === 'string' && /^[0-9a-f]{64}$/.test(layout))) {
    throw invalid('The layout of a selection must be a sha256 in 64 lower-case hexadecimal digits')
  }
  const seen = new Set<string>()
  let boxes = 0
  const found = Array.from(selection.tensors as readonly SelectedTensor[], (selected) => {
    const name = selected?.name
    if (typeof name !== 'string') throw invalid('Every selected tensor must be an object with a name')
    refuseOthers(selected)
    if (seen.has(name)) throw invalid(`Tensor ${quoteName(name)} is selected twice`, name)
    seen.add(name)
    const info = lookup(name)
    if (info === undefined) throw invalid(`Tensor ${quoteName(name)} is selected, but there is none of that name`, name)
    const { ranges = [] } = selected
    if (!Array.isArray(ranges)) {
      throw invalid(`The ranges of tensor ${quoteName(name)} must be an array with one for each dimension`, name)
    }
    const wrong = ranges.findIndex((range) => !isSelectedRange(range)) // unlike every(), looks at holes
    if (wrong !== -1) {
      const form = '[start, stop], or an array of several such that are not empty, rise and do not touch'
      throw invalid(`The range of dimension ${wrong} of tensor ${quoteName(name)} must be ${form}`, name)
    }
    boxes += ranges.reduce((product: number, range: SelectedRange) => product * extentsOf(range).length, 1)
    return { name, ranges, info }
  })
  // Before any of them is made.
  if (boxes > MAX_SELECTED_BOXES) {
    const most = `there must be at most ${MAX_SELECTED_BOXES}`
    throw invalid(`The parts of the ${found.length} selected tensors have ${boxes} boxes together: ${most}`)
  }
  return found.map(({ name, ranges, info }) => {
    return { name, ranges, slice: resolveSelected(info.dtype, info.shape, ranges, name), info }
  })
}

/** A misspelt `ranges` would select the whole tensor. */
function refuseOthers(selected: SelectedTensor): void {
  const other = Object.keys(selected).find((member) => member !== 'name' && member !== 'ranges')
  if (other === undefined) return
  const message = `The selected tensor ${quoteName(selected.name)} has a member ${quoteName(other)}; it may have name and ranges`
  throw invalid(message, selected.name)
}

function isSelectedRange(range: unknown): boolean {
  if (isExtent(range)) return true
  if (!Array.isArray(range) || range.length < 2) return false
  let end = Number.NEGATIVE_INFINITY // of the extent before
  for (const extent of range) {
    if (!isExtent(extent)) return false
    const [start, stop] = extent
    if (!(start > end && stop > start)) return false // NaN too
    end = stop
  }
  return true
}

function invalid(message: string, tensor?: string): SafetensorsError {
  return new SafetensorsError('SAFETENSORS_INVALID_SELECTION', message, { tensor })
}
