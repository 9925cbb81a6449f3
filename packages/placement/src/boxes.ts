import { type Extent, extentChoices, extentsOf, type SelectedRange } from '@onecopy/safetensors'
import { extentsByDimension, takesAll } from './extents.ts'

/** A hyper-rectangle of a tensor and where it goes; one entry for each dimension, outermost first, in elements. */
export interface Box {
  readonly offsets: readonly number[] // in the tensor
  readonly lengths: readonly number[]
  readonly targetOffsets: readonly number[] // in the result
}

/**
 * What a selection is made of: a box for each choice of an extent in each dimension, in the order of the result. The low-level
 * form of PyTorch's distributed checkpoints (`ReadItem`, torch.distributed.checkpoint.planner).
 */
export function boxesOf(shape: readonly number[], ranges: readonly SelectedRange[]): readonly Box[] {
  const choices = extentChoices(ranges.map(extentsOf))
  const whole = shape.slice(ranges.length)
  const zeros = whole.map(() => 0)
  return Array.from(choices, ({ from, to }) => ({
    offsets: [...from.map(([start]) => start), ...zeros],
    lengths: [...from.map(([start, stop]) => stop - start), ...whole],
    targetOffsets: [...to.map(([start]) => start), ...zeros],
  }))
}

/** The elements from the first of a selection that is not empty to its last, counted from the tensor's first; half-open. */
export function elementSpan(shape: readonly number[], ranges: readonly SelectedRange[]): [begin: number, end: number] {
  const { rows, inner, stride } = rowsOf(shape, ranges)
  let begin = inner[0]![0] * stride
  let end = inner.at(-1)![1] * stride
  for (const row of rows) {
    begin += row.extents[0]![0] * row.stride
    end += (row.extents.at(-1)![1] - 1) * row.stride
  }
  return [begin, end]
}

/** The runs of elements of a selection that is not empty, half-open, as they lie in the tensor; runs may touch. */
export function* elementRuns(
  shape: readonly number[],
  ranges: readonly SelectedRange[],
): Generator<[begin: number, end: number], void> {
  const { rows, inner, stride } = rowsOf(shape, ranges)
  // One wheel for each dimension with several rows, the innermost turning fastest.
  const wheels = rows.map((row) => ({ ...row, extent: 0, position: row.extents[0]![0] }))
  for (;;) {
    const base = wheels.reduce((sum, wheel) => sum + wheel.position * wheel.stride, 0)
    for (const [start, stop] of inner) yield [base + start * stride, base + stop * stride]
    let turned = wheels.length - 1
    for (; turned >= 0; turned--) {
      const wheel = wheels[turned]!
      wheel.position++
      if (wheel.position < wheel.extents[wheel.extent]![1]) break
      wheel.extent = (wheel.extent + 1) % wheel.extents.length
      wheel.position = wheel.extents[wheel.extent]![0]
      if (wheel.extent > 0) break
    }
    if (turned < 0) return
  }
}

/** The dimensions before the last that is cut, that one, and what it strides over. */
function rowsOf(
  shape: readonly number[],
  ranges: readonly SelectedRange[],
): {
  readonly rows: readonly { readonly extents: readonly Extent[]; readonly stride: number }[]
  readonly inner: readonly Extent[]
  readonly stride: number
} {
  const all = extentsByDimension(shape, ranges)
  let stride = 1
  let cut = shape.length - 1
  for (; cut > 0; cut--) {
    if (!takesAll(all[cut]!, shape[cut]!)) break
    stride *= shape[cut]!
  }
  const rows: { extents: readonly Extent[]; stride: number }[] = []
  let outer = stride * (shape[cut] ?? 1)
  for (let dimension = cut - 1; dimension >= 0; dimension--) {
    rows.unshift({ extents: all[dimension]!, stride: outer })
    outer *= shape[dimension]!
  }
  return { rows, inner: all[cut] ?? [[0, 1]], stride }
}
