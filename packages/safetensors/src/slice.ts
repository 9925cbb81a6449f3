import { tensorByteLength } from './byte-length.ts'
import { checkArgument } from './check-options.ts'
import { type Dtype, dtypeBits } from './dtype.ts'
import { quoteName, SafetensorsError, type SafetensorsErrorCode } from './errors.ts'

/**
 * What to take of one dimension: a number takes one index and drops the dimension, counting from the end when negative;
 * null takes all; `[start, stop]` takes a half-open range, where a stop of null is the end; `[start, stop, step]` every
 * step-th index of it.
 */
export type SliceRange = number | null | readonly [start: number, stop: number | null, step?: number]

/**
 * A slice as bytes of its tensor: equally long runs, laid out by nested loops. It is as small as the shape, however many
 * runs it has.
 */
export interface ResolvedSlice {
  readonly dtype: Dtype
  /** The dimensions of the slice. */
  readonly shape: readonly number[]
  /** The bytes of the slice. */
  readonly byteLength: number
  /** The bytes of the whole tensor. */
  readonly tensorByteLength: number
  /** Where the first run begins, in bytes from the tensor's first; 0 for an empty slice. */
  readonly byteOffset: number
  /** Whether there is only one run: the slice is the bytes from `byteOffset` to `byteOffset + byteLength`. */
  readonly contiguous: boolean
  /** The bytes of each run. */
  readonly runByteLength: number
  /** How the runs repeat, outermost first: `count` ≥ 2 times, `byteStride` apart. Empty when contiguous. */
  readonly loops: readonly SliceLoop[]
}

export interface SliceLoop {
  readonly count: number
  /** Bytes from the beginning of one round to that of the next. */
  readonly byteStride: number
}

interface Axis {
  readonly start: number
  readonly count: number
  readonly step: number
  readonly dropped: boolean
}

/**
 * Works out which bytes of a tensor a slice takes. Dimensions without a range are whole. Nothing is clamped. F4 and F6
 * can be sliced only where every run begins and ends at a whole byte.
 *
 * @param shape the tensor's dimensions, outermost first
 * @param ranges one for each dimension from the outermost on, at most as many as there are
 * @param tensor the tensor's name, for errors
 * @throws SafetensorsError SAFETENSORS_INVALID_SLICE for a range beyond its dimension and for too many ranges,
 * SAFETENSORS_MISALIGNED_SLICE for a run that does not begin and end at a whole byte, and as `tensorByteLength` does for
 * a shape without a size. TypeError for a range of the wrong form.
 */
export function resolveSlice(
  dtype: Dtype,
  shape: readonly number[],
  ranges: readonly SliceRange[],
  tensor?: string,
): ResolvedSlice {
  if (ranges.length > shape.length) {
    const what = `${ranges.length} ranges, but the tensor has ${shape.length} dimensions`
    throw sliceError('SAFETENSORS_INVALID_SLICE', what, tensor, { ranges: ranges.length, dimensions: shape.length })
  }
  const axes = shape.map((size, axis) => resolveRange(axis < ranges.length ? ranges[axis]! : null, size, axis, tensor))
  const taken = axes.filter(({ dropped }) => !dropped).map(({ count }) => count)
  // Dimensions beside a zero may be too large to multiply, and nothing needs their product.
  const whole = shape.includes(0) ? 0 : tensorByteLength(dtype, shape, tensor)
  if (taken.includes(0)) {
    const nothing = { byteLength: 0, byteOffset: 0, contiguous: true, runByteLength: 0, loops: [] }
    return { dtype, shape: taken, tensorByteLength: whole, ...nothing }
  }

  const loops: { count: number; stride: number }[] = [] // innermost first, in bits until the end
  let run = dtypeBits(dtype)
  let offset = 0
  let stride = dtypeBits(dtype)
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const { start, count, step } = axes[axis]!
    offset += start * stride
    const round = stride * step
    const inner = loops.at(-1)
    stride *= shape[axis]!
    if (count === 1) continue
    // What lies end to end is one run, or one loop, however many dimensions it spans.
    if (inner === undefined && round === run) run *= count
    else if (inner !== undefined && round === inner.stride * inner.count) inner.count *= count
    else loops.push({ count, stride: round })
  }
  for (const bits of [offset, run, ...loops.map((loop) => loop.stride)]) {
    if (bits % 8 === 0) continue
    const what = `a boundary at bit ${bits} of ${dtype} data, which must be a whole byte`
    throw sliceError('SAFETENSORS_MISALIGNED_SLICE', what, tensor, { dtype, bits })
  }
  return {
    dtype,
    shape: taken,
    byteLength: loops.reduce((bytes, { count }) => bytes * count, run / 8),
    tensorByteLength: whole,
    byteOffset: offset / 8,
    contiguous: loops.length === 0,
    runByteLength: run / 8,
    loops: loops.map((loop) => ({ count: loop.count, byteStride: loop.stride / 8 })).reverse(),
  }
}

const RANGE = { must: 'a number, null, [start, stop] or [start, stop, step]', isKind: isRange }

function isRange(value: unknown): boolean {
  if (!Array.isArray(value) || value.length < 2 || value.length > 3) return false
  const [start, stop, step] = value as readonly unknown[]
  return (
    typeof start === 'number' &&
    (stop === null || typeof stop === 'number') &&
    (step === undefined || typeof step === 'number')
  )
}

function resolveRange(range: SliceRange, size: number, axis: number, tensor: string | undefined): Axis {
  if (range === null) return { start: 0, count: size, step: 1, dropped: false }
  if (typeof range === 'number') {
    const start = range < 0 ? range + size : range
    const rule = size === 0 ? 'a range, since there is no index' : `an integer from ${-size} to ${size - 1}`
    if (!Number.isInteger(start) || start < 0 || start >= size) throw outside('index', range, rule, size, axis, tensor)
    return { start, count: 1, step: 1, dropped: true }
  }
  checkArgument(`The range of dimension ${axis}`, range, RANGE)
  const [start, end, step = 1] = range
  const stop = end ?? size
  const rule = `an integer from 0 to ${size}`
  if (!Number.isInteger(start) || start < 0 || start > size) throw outside('start', start, rule, size, axis, tensor)
  if (!Number.isInteger(stop) || stop < 0 || stop > size) throw outside('stop', stop, rule, size, axis, tensor)
  if (stop < start) throw outside('stop', stop, `at least the start, ${start}`, size, axis, tensor)
  if (!Number.isInteger(step) || step < 1) throw outside('step', step, 'a positive integer', size, axis, tensor)
  return { start, count: Math.ceil((stop - start) / step), step, dropped: false }
}

function outside(
  part: string,
  value: number,
  rule: string,
  size: number,
  axis: number,
  tensor: string | undefined,
): SafetensorsError {
  const what = `${part} ${value} in dimension ${axis}, which has size ${size}: it must be ${rule}`
  return sliceError('SAFETENSORS_INVALID_SLICE', what, tensor, { axis, value, size })
}

function sliceError(
  code: SafetensorsErrorCode,
  what: string,
  tensor: string | undefined,
  details: Record<string, unknown>,
): SafetensorsError {
  const subject = tensor === undefined ? 'The slice' : `The slice of tensor ${quoteName(tensor)}`
  return new SafetensorsError(code, `${subject} has ${what}`, { tensor, details })
}
