import { tensorByteLength } from './byte-length.ts'
import type { Dtype } from './dtype.ts'
import { quoteName, SafetensorsError } from './errors.ts'
import { gather, MAX_VIEW_BYTES, requireLength, SHORT_RUN } from './gather.ts'
import { type ResolvedSlice, resolveSlice, type SliceRange } from './slice.ts'

/** Half-open positions in one dimension. */
export type Extent = readonly [start: number, stop: number]

/**
 * What is taken of one dimension: one extent, or several that are joined in the result. In a selection several rise and do
 * not touch, so that there is one way to write each choice.
 */
export type SelectedRange = Extent | readonly Extent[]

/** The extents of one dimension, however they were written. */
export function extentsOf(range: SelectedRange): readonly Extent[] {
  return isExtent(range) ? [range] : range
}

/** @internal Whether a value of any kind is one extent by its form. */
export function isExtent(range: unknown): range is Extent {
  return Array.isArray(range) && range.length === 2 && typeof range[0] === 'number' && typeof range[1] === 'number'
}

/** One box of a selected part: the same elements in the tensor and in the result. */
export interface SelectedBox {
  readonly source: ResolvedSlice
  readonly target: ResolvedSlice
}

/** A selected part of a tensor as bytes. */
export interface SelectedSlice {
  readonly dtype: Dtype
  /** The dimensions of the result. */
  readonly shape: readonly number[]
  /** The bytes of the result. */
  readonly byteLength: number
  /** The bytes of the whole tensor. */
  readonly tensorByteLength: number
  /** Whether the result is one run of the tensor's bytes, from `byteOffset` on: it can be read in place. */
  readonly contiguous: boolean
  /** Where the first byte is taken, from the tensor's first; 0 for an empty result. */
  readonly byteOffset: number
  /**
   * What it is made of: one box for each choice of an extent in each dimension, in the order of the result. None for an
   * empty result; extents that touch count as one.
   */
  readonly boxes: readonly SelectedBox[]
}

// A box takes half a kilobyte. A pruned vocabulary needs one for each kept run of rows; a list of extents in every
// dimension, which is short as JSON, would need the product of their numbers.
const MAX_BOXES = 2 ** 18

/**
 * Works out which bytes a selected part of a tensor takes, and where they go in the result. Extents are joined in the
 * order given, whatever it is: only a {@link Selection} must have them rise.
 *
 * @param ranges one for each dimension from the outermost on; dimensions without one are whole
 * @param tensor the tensor's name, for errors
 * @throws SafetensorsError as `resolveSlice` does, and SAFETENSORS_INVALID_SLICE above 2^18 boxes. TypeError for a range
 * of the wrong form.
 */
export function resolveSelected(
  dtype: Dtype,
  shape: readonly number[],
  ranges: readonly SelectedRange[],
  tensor?: string,
): SelectedSlice {
  const extents = Array.from(ranges, (range, axis) => requireExtents(range, axis))
  requireWithin(extents, shape, tensor)
  // Dimensions beside a zero may be too large to multiply, and nothing needs their product.
  const whole = shape.includes(0) ? 0 : tensorByteLength(dtype, shape, tensor)
  const result = shape.map((size, axis) => extents[axis]?.reduce((sum, [start, stop]) => sum + stop - start, 0) ?? size)
  if (result.includes(0)) {
    const nothing = { byteLength: 0, contiguous: true, byteOffset: 0, boxes: [] }
    return { dtype, shape: result, tensorByteLength: whole, ...nothing }
  }
  const joined = extents.map(joinTouching)
  requireFewBoxes(joined, tensor)
  const places = [...extentChoices(joined)]
  // The sources first: their errors speak of the tensor, not of a result that nobody has seen.
  const sources = places.map(({ from }) => resolveSlice(dtype, shape, from, tensor))
  const boxes = places.map(({ to }, box) => {
    return { source: sources[box]!, target: resolveSlice(dtype, result, to, tensor) }
  })
  const { source, target } = boxes[0]!
  return {
    dtype,
    shape: result,
    byteLength: target.tensorByteLength,
    tensorByteLength: whole,
    contiguous: boxes.length === 1 && source.contiguous,
    byteOffset: source.byteOffset,
    boxes,
  }
}

function requireExtents(range: SelectedRange, axis: number): readonly Extent[] {
  const extents: unknown = Array.isArray(range) ? extentsOf(range) : undefined
  if (Array.isArray(extents) && Array.from(extents).every(isExtent)) return extents
  throw new TypeError(`The range of dimension ${axis} must be [start, stop] or an array of such`)
}

/** Checks ranges one by one before anything is multiplied. */
function requireWithin(
  extents: readonly (readonly Extent[])[],
  shape: readonly number[],
  tensor: string | undefined,
): void {
  const whole: readonly SliceRange[] = extents.map(() => null)
  if (extents.length > shape.length) resolveSlice('U8', shape, whole, tensor) // throws
  for (const [axis, choices] of extents.entries()) {
    const size = shape[axis]!
    for (const extent of choices) {
      const [start, stop] = extent
      if (Number.isInteger(start) && Number.isInteger(stop) && start >= 0 && start <= stop && stop <= size) continue
      resolveSlice('U8', shape, whole.with(axis, extent), tensor) // throws
    }
  }
}

/** The same positions in the same order, without empty extents, and those in one that lie end to end. */
export function joinTouching(extents: readonly Extent[]): readonly Extent[] {
  const joined: Extent[] = []
  for (const [start, stop] of extents) {
    if (start === stop) continue
    const last = joined.at(-1)
    if (last?.[1] === start) joined[joined.length - 1] = [last[0], stop]
    else joined.push([start, stop])
  }
  return joined
}

function requireFewBoxes(extents: readonly (readonly Extent[])[], tensor: string | undefined): void {
  const count = extents.reduce((product, { length }) => product * length, 1)
  if (count <= MAX_BOXES) return
  const subject = tensor === undefined ? 'The slice' : `The slice of tensor ${quoteName(tensor)}`
  const factors = extents.map(({ length }) => length).join(' × ')
  throw new SafetensorsError(
    'SAFETENSORS_INVALID_SLICE',
    `${subject} has ${factors} extents, which make ${count} boxes: it must have at most ${MAX_BOXES}`,
    { tensor, details: { boxes: count } },
  )
}

/** One extent for each dimension: where they are in the tensor, and where in the result. */
export interface ExtentChoice {
  readonly from: readonly Extent[]
  readonly to: readonly Extent[]
}

/** Every choice of one extent for each dimension, in the order of the result. */
export function* extentChoices(
  extents: readonly (readonly Extent[])[],
  from: readonly Extent[] = [],
  to: readonly Extent[] = [],
): Generator<ExtentChoice, void> {
  const axis = from.length
  if (axis === extents.length) {
    yield { from, to }
    return
  }
  let at = 0
  for (const extent of extents[axis]!) {
    const length = extent[1] - extent[0]
    yield* extentChoices(extents, [...from, extent], [...to, [at, at + length]])
    at += length
  }
}

type CopyCallback = (sourceOffset: number, targetOffset: number, byteLength: number) => void

/**
 * Calls back with every run that is one in the tensor and in the result, box by box.
 *
 * @param callback gets the places in bytes of the tensor and of the result, and the run's length
 */
export function forEachCopy({ boxes }: SelectedSlice, callback: CopyCallback): void {
  for (const box of boxes) copyBox(box, callback)
}

/**
 * Both slices of a box have the same shape and differ in where their runs break, so the places where either breaks divide
 * each other, and make one nest of loops for both.
 */
function copyBox({ source, target }: SelectedBox, callback: CopyCallback): void {
  const breaks = [...new Set([...breaksOf(source), ...breaksOf(target)])].sort((a, b) => b - a)
  const loops = breaks.map((bytes, level) => {
    const count = (breaks[level - 1] ?? source.byteLength) / bytes
    return { count, from: strideAt(source, bytes), to: strideAt(target, bytes) }
  })
  const run = breaks.at(-1) ?? source.byteLength

  // Loops repeat at least twice and sizes are below 2^53, so the recursion is at most 53 deep.
  function visit(level: number, from: number, to: number): void {
    const loop = loops[level]
    if (loop === undefined) {
      callback(from, to, run)
      return
    }
    for (let round = 0; round < loop.count; round++) visit(level + 1, from + round * loop.from, to + round * loop.to)
  }
  visit(0, source.byteOffset, target.byteOffset)
}

/** After how many bytes of the slice its runs break: one number for each loop, innermost first. */
function breaksOf({ runByteLength, loops }: ResolvedSlice): number[] {
  let bytes = runByteLength
  return loops.toReversed().map(({ count }) => {
    const before = bytes
    bytes *= count
    return before
  })
}

/** How far apart in the tensor two bytes are that are `bytes`, a break of this slice or another, apart in the slice. */
function strideAt({ runByteLength, loops }: ResolvedSlice, bytes: number): number {
  let inner = runByteLength
  if (bytes < inner) return bytes
  for (const { count, byteStride } of loops.toReversed()) {
    if (bytes < inner * count) return (bytes / inner) * byteStride
    inner *= count
  }
  return bytes
}

/**
 * Copies a selected part's bytes together.
 *
 * @param source the tensor's bytes, exactly; a buffer rather than a view where they are too many for one view
 * @param target gets the part's bytes, exactly as many; a new one by default
 * @returns the target
 * @throws RangeError where the source or the target has another length.
 */
export function gatherSelected(
  source: ArrayBufferLike | Uint8Array,
  part: SelectedSlice,
  target: Uint8Array = new Uint8Array(part.byteLength),
): Uint8Array {
  requireLength('source', source.byteLength, part.tensorByteLength)
  requireLength('target', target.byteLength, part.byteLength)
  for (const box of part.boxes) {
    const { byteOffset, byteLength, contiguous } = box.target
    if (contiguous) gather(source, box.source, target.subarray(byteOffset, byteOffset + byteLength))
    else scatterBox(source, box, target)
  }
  return target
}

function scatterBox(source: ArrayBufferLike | Uint8Array, box: SelectedBox, target: Uint8Array): void {
  const buffer = ArrayBuffer.isView(source) ? source.buffer : source
  const origin = ArrayBuffer.isView(source) ? source.byteOffset : 0
  // A window that moves along a tensor too large for one view; the places of a box rise.
  let start = 0
  let window = new Uint8Array(buffer, origin, Math.min(source.byteLength, MAX_VIEW_BYTES))
  copyBox(box, (from, to, length) => {
    if (from + length > start + window.length) {
      start = from
      window = new Uint8Array(
        buffer,
        origin + from,
        Math.min(source.byteLength - from, Math.max(length, MAX_VIEW_BYTES)),
      )
    }
    const at = from - start
    if (length > SHORT_RUN) target.set(window.subarray(at, at + length), to)
    else for (let i = 0; i < length; i++) target[to + i] = window[at + i]!
  })
}
