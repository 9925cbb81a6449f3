import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tries } from '../../../test/many-inputs.ts'
import { tensorByteLength } from '../src/byte-length.ts'
import { type Dtype, dtypeBits } from '../src/dtype.ts'
import { forEachRun, gather } from '../src/gather.ts'
import { resolveSlice, type SliceRange } from '../src/slice.ts'
import { dtypeAndShapeArbitrary } from './arbitraries.ts'
import { outcome } from './bytes.ts'

/** The bits of a slice, element by element: null where they do not make whole bytes that were whole bytes before. */
function naiveSlice(dtype: Dtype, shape: number[], ranges: SliceRange[], data: Uint8Array): Uint8Array | null {
  const bits = dtypeBits(dtype)
  let elements = [0]
  let stride = 1
  const strides = shape.map(() => 0)
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride
    stride *= shape[axis]!
  }
  shape.forEach((size, axis) => {
    const range = ranges[axis] ?? null
    const indices: number[] = []
    if (typeof range === 'number') indices.push(range < 0 ? range + size : range)
    else for (let i = range?.[0] ?? 0; i < (range?.[1] ?? size); i += range?.[2] ?? 1) indices.push(i)
    elements = elements.flatMap((element) => indices.map((index) => element + index * strides[axis]!))
  })
  // The source bit of every bit of the result; each group of eight must be one byte of the source.
  const sourceBits = elements.flatMap((element) => Array.from({ length: bits }, (_, bit) => element * bits + bit))
  const out: number[] = []
  for (let i = 0; i < sourceBits.length; i += 8) {
    const first = sourceBits[i]!
    if (first % 8 !== 0 || sourceBits[i + 7] !== first + 7) return null
    for (let bit = 1; bit < 8; bit++) if (sourceBits[i + bit] !== first + bit) return null
    out.push(data[first / 8]!)
  }
  return Uint8Array.from(out)
}

const sliceArbitrary = dtypeAndShapeArbitrary.chain(({ dtype, shape }) => {
  const ranges = shape.map((size) => {
    const range = fc
      .tuple(fc.nat(size), fc.nat(size), fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }))
      .map(([a, b, step]): SliceRange => {
        const [start, stop] = [Math.min(a, b), Math.max(a, b)]
        return step === undefined ? [start, stop] : [start, stop, step]
      })
    const whole = fc.constantFrom<SliceRange[]>(null, [0, null], [0, size])
    return size === 0 ? fc.oneof(range, whole) : fc.oneof(range, whole, fc.integer({ min: -size, max: size - 1 }))
  })
  const all = fc.tuple(...ranges) as fc.Arbitrary<SliceRange[]>
  return fc.record({ dtype: fc.constant(dtype), shape: fc.constant(shape), ranges: all, drop: fc.nat(shape.length) })
})

describe('gather()', () => {
  test('copies what a naive slice by elements gives, for all dtypes', () => {
    fc.assert(
      fc.property(sliceArbitrary, fc.nat(7), fc.nat(7), ({ dtype, shape, ranges, drop }, sourceShift, targetShift) => {
        const used = ranges.slice(0, ranges.length - drop)
        const length = tensorByteLength(dtype, shape)
        // Odd addresses on both sides; words must not be used where they do not fit.
        const source = new Uint8Array(length + sourceShift).subarray(sourceShift).map((_, i) => i * 31 + 1)
        const shifted = new Uint8Array(new SharedArrayBuffer(length + sourceShift), sourceShift)
        shifted.set(source)
        const expected = naiveSlice(dtype, shape, used, source)
        if (expected === null) {
          expect(outcome(() => resolveSlice(dtype, shape, used))).toBe('SAFETENSORS_MISALIGNED_SLICE')
          return
        }
        const slice = resolveSlice(dtype, shape, used)
        expect(slice.byteLength).toBe(expected.length)
        expect(slice.tensorByteLength).toBe(length)
        expect(gather(source, slice)).toEqual(expected)
        const target = new Uint8Array(slice.byteLength + targetShift).subarray(targetShift)
        expect(gather(shifted, slice, target)).toBe(target)
        expect(target).toEqual(expected)
        if (slice.contiguous) {
          expect(source.slice(slice.byteOffset, slice.byteOffset + slice.byteLength)).toEqual(expected)
        }
        const runs: number[] = []
        forEachRun(slice, (offset, bytes) => runs.push(...source.subarray(offset, offset + bytes)))
        expect(runs).toEqual([...expected])
      }),
      tries(500),
    )
  })

  test('copies long runs and takes a bare buffer', () => {
    const source = new Uint8Array(40 * 300).map((_, i) => i % 251)
    const slice = resolveSlice(
      'U8',
      [40, 300],
      [
        [0, 40, 3],
        [7, 290],
      ],
    )
    const expected: number[] = []
    for (let row = 0; row < 40; row += 3) expected.push(...source.subarray(row * 300 + 7, row * 300 + 290))
    expect(gather(source, slice)).toEqual(Uint8Array.from(expected))
    expect(gather(source.buffer, slice)).toEqual(Uint8Array.from(expected))
  })

  test('keeps the bits of every NaN', () => {
    const bits = Uint32Array.from([0x7f800001, 0xffc12345, 0x7fbfffff, 1])
    const gathered = gather(bits.buffer, resolveSlice('F32', [2, 2], [null, 0]))
    expect(gathered).toEqual(new Uint8Array(Uint32Array.from([bits[0]!, bits[2]!]).buffer))
  })

  test('reads a slice of more than 2 GiB apart through several views', () => {
    const rows = 5
    const width = 2 ** 29 + 6
    const source = new SharedArrayBuffer(rows * width) // reserved, hardly touched
    for (let row = 0; row < rows; row++) new Uint8Array(source, row * width + 9, 2).set([row + 1, 100 + row])
    expect([...gather(source, resolveSlice('U8', [rows, width], [null, [9, 11]]))]).toEqual([
      1, 100, 2, 101, 3, 102, 4, 103, 5, 104,
    ])
  })

  test('refuses a source or a target of another length', () => {
    const slice = resolveSlice('U8', [4, 4], [null, 1])
    expect(() => gather(new Uint8Array(15), slice)).toThrow('The source has 15 bytes, but must have 16')
    expect(() => gather(new Uint8Array(16), slice, new Uint8Array(5))).toThrow(RangeError)
  })
})

test('forEachRun() visits the runs in order, and none of an empty slice', () => {
  const runs: [number, number][] = []
  forEachRun(resolveSlice('F16', [2, 3, 4], [null, [0, 3, 2], [1, 3]]), (offset, length) => runs.push([offset, length]))
  expect(runs).toEqual([
    [2, 4],
    [18, 4],
    [26, 4],
    [42, 4],
  ])
  forEachRun(resolveSlice('F16', [2, 0], []), () => expect.unreachable())
})
