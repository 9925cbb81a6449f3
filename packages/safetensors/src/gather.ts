import type { ResolvedSlice, SliceLoop } from './slice.ts'

/**
 * Calls back with the place of each run of a slice, in the order of its elements.
 *
 * @param callback gets where the run begins and how long it is, in bytes of the tensor
 */
export function forEachRun(slice: ResolvedSlice, callback: (byteOffset: number, byteLength: number) => void): void {
  if (slice.byteLength > 0) visit(slice, 0, slice.byteOffset, callback)
}

// Loops repeat at least twice and sizes are below 2^53, so the recursion is at most 53 deep.
function visit(
  slice: ResolvedSlice,
  level: number,
  offset: number,
  callback: (at: number, length: number) => void,
): void {
  const loop = slice.loops[level]
  if (loop === undefined) {
    callback(offset, slice.runByteLength)
    return
  }
  for (let round = 0; round < loop.count; round++) visit(slice, level + 1, offset + round * loop.byteStride, callback)
}

/** @internal Node 20 makes no typed array above 4 GiB, so larger tensors are read through views of their parts. */
export const MAX_VIEW_BYTES: number = 2 ** 31
/** @internal Up to this many elements a loop beats subarray() and set(). */
export const SHORT_RUN: number = 32

type Units = Uint8Array | Uint16Array | Uint32Array

/**
 * Copies a slice's bytes together.
 *
 * @param source the tensor's bytes, exactly; a buffer rather than a view where they are too many for one view
 * @param target gets the slice's bytes, exactly as many; a new one by default
 * @returns the target
 * @throws RangeError where the source or the target has another length.
 */
export function gather(
  source: ArrayBufferLike | Uint8Array,
  slice: ResolvedSlice,
  target: Uint8Array = new Uint8Array(slice.byteLength),
): Uint8Array {
  requireLength('source', source.byteLength, slice.tensorByteLength)
  requireLength('target', target.byteLength, slice.byteLength)
  const buffer = ArrayBuffer.isView(source) ? source.buffer : source
  const origin = ArrayBuffer.isView(source) ? source.byteOffset : 0
  let written = 0

  function copyFrom(level: number, offset: number): void {
    const loop = slice.loops[level]
    const span = spanOf(slice, level)
    if (loop !== undefined && span > MAX_VIEW_BYTES) {
      for (let round = 0; round < loop.count; round++) copyFrom(level + 1, offset + round * loop.byteStride)
      return
    }
    const inner = slice.loops.slice(level)
    const byteLength = inner.reduce((bytes, { count }) => bytes * count, slice.runByteLength)
    const from = new Uint8Array(buffer, origin + offset, span)
    const to = target.subarray(written, written + byteLength)
    copyPart(from, to, slice.runByteLength, inner)
    written += byteLength
  }

  if (slice.byteLength > 0) copyFrom(0, slice.byteOffset)
  return target
}

/** The bytes from the beginning of the first run of the loops from `level` on to the end of their last. */
function spanOf({ loops, runByteLength }: ResolvedSlice, level: number): number {
  let span = runByteLength
  for (const { count, byteStride } of loops.slice(level)) span += (count - 1) * byteStride
  return span
}

function copyPart(from: Uint8Array, to: Uint8Array, run: number, loops: readonly SliceLoop[]): void {
  // Whole words where all addresses allow it. No Float64Array: it may change the bits of a NaN.
  const addresses = [from.byteOffset, to.byteOffset, run, ...loops.map(({ byteStride }) => byteStride)]
  const unit = ([4, 2] as const).find((size) => addresses.every((address) => address % size === 0)) ?? 1
  const strides = loops.map(({ count, byteStride }) => ({ count, byteStride: byteStride / unit }))
  copyRounds(inUnits(from, unit), 0, inUnits(to, unit), 0, run / unit, strides, 0)
}

function inUnits(bytes: Uint8Array, unit: 1 | 2 | 4): Units {
  if (unit === 1) return bytes
  const { buffer, byteOffset, byteLength } = bytes
  return unit === 2
    ? new Uint16Array(buffer, byteOffset, byteLength / 2)
    : new Uint32Array(buffer, byteOffset, byteLength / 4)
}

/** Copies the loops from `level` on; all places count units. Returns the place after what it wrote. */
function copyRounds(
  from: Units,
  fromStart: number,
  to: Units,
  toStart: number,
  run: number,
  loops: readonly SliceLoop[],
  level: number,
): number {
  const { count, byteStride: stride } = loops[level] ?? { count: 1, byteStride: 0 }
  let at = fromStart
  let written = toStart
  for (let round = 0; round < count; round++, at += stride) {
    if (level < loops.length - 1) {
      written = copyRounds(from, at, to, written, run, loops, level + 1)
    } else if (run <= SHORT_RUN) {
      for (let i = 0; i < run; i++) to[written + i] = from[at + i]!
      written += run
    } else {
      to.set(from.subarray(at, at + run), written)
      written += run
    }
  }
  return written
}

/** @internal */
export function requireLength(what: string, byteLength: number, expected: number): void {
  if (byteLength !== expected) throw new RangeError(`The ${what} has ${byteLength} bytes, but must have ${expected}`)
}
