import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tries } from '../../../test/many-inputs.ts'
import { tensorByteLength } from '../src/byte-length.ts'
import { type Dtype, dtypeBits } from '../src/dtype.ts'
import { gather } from '../src/gather.ts'
import {
  type Extent,
  extentChoices,
  extentsOf,
  forEachCopy,
  gatherSelected,
  joinTouching,
  resolveSelected,
  type SelectedRange,
  type SelectedSlice,
} from '../src/selected-slice.ts'
import { resolveSlice } from '../src/slice.ts'
import { dtypeAndShapeArbitrary } from './arbitraries.ts'
import { outcome, thrownBy } from './bytes.ts'

/** The extents as they are: the formatter would give each a line of its own. */
function several(...extents: Extent[]): readonly Extent[] {
  return extents
}

/** Extents of single positions, every second one. */
function combs(count: number): Extent[] {
  return Array.from({ length: count }, (_, i) => [2 * i, 2 * i + 1])
}

function bytesOf(dtype: Dtype, shape: readonly number[]): Uint8Array {
  return new Uint8Array(tensorByteLength(dtype, shape)).map((_, i) => i * 31 + 1)
}

/** The places of the result's bytes in the tensor, element by element: null where whole bytes do not stay whole. */
function naivePlaces(dtype: Dtype, shape: readonly number[], ranges: readonly SelectedRange[]): number[] | null {
  let elements = [0]
  for (const [axis, size] of shape.entries()) {
    const positions: number[] = []
    for (const [start, stop] of axis < ranges.length ? extentsOf(ranges[axis]!) : several([0, size])) {
      for (let position = start; position < stop; position++) positions.push(position)
    }
    elements = elements.flatMap((element) => positions.map((position) => element * size + position))
  }
  const bits = dtypeBits(dtype)
  const places = elements.flatMap((element) => Array.from({ length: bits }, (_, bit) => element * bits + bit))
  const whole = places.every((place, i) => (i % 8 === 0 ? place % 8 === 0 : place === places[i - 1]! + 1))
  return whole && places.length % 8 === 0 ? places.filter((_, i) => i % 8 === 0).map((place) => place / 8) : null
}

/** Runs one for each copy, applied to a fresh result. */
function copied(part: SelectedSlice, source: Uint8Array): { result: Uint8Array; lengths: number[] } {
  const result = new Uint8Array(part.byteLength)
  const lengths: number[] = []
  forEachCopy(part, (from, to, length) => {
    result.set(source.subarray(from, from + length), to)
    lengths.push(length)
  })
  return { result, lengths }
}

function rising(size: number): fc.Arbitrary<SelectedRange> {
  return fc
    .uniqueArray(fc.nat(size), { maxLength: 6 })
    .map((bounds) => bounds.sort((a, b) => a - b))
    .map((bounds) => Array.from({ length: bounds.length >> 1 }, (_, i): Extent => [bounds[2 * i]!, bounds[2 * i + 1]!]))
    .map((extents) => (extents.length === 1 ? extents[0]! : extents))
}

function anyOrder(size: number): fc.Arbitrary<SelectedRange> {
  const extent = fc.tuple(fc.nat(size), fc.nat(size)).map(([a, b]): Extent => [Math.min(a, b), Math.max(a, b)])
  return fc.oneof(extent, fc.array(extent, { maxLength: 3 }))
}

/** Sub-byte dtypes with even positions are frequent, since most others misalign them. */
const caseArbitrary = fc
  .oneof(
    dtypeAndShapeArbitrary,
    fc.record({
      dtype: fc.constantFrom<Dtype>('F4', 'F6_E2M3', 'F6_E3M2'),
      shape: fc.tuple(fc.integer({ min: 1, max: 6 }), fc.constantFrom(1, 2, 3, 4), fc.constantFrom(4, 8, 12)),
    }),
    fc.record({ dtype: fc.constantFrom<Dtype>('U8', 'BF16', 'F32'), shape: fc.array(fc.nat(9), { maxLength: 3 }) }),
  )
  .chain(({ dtype, shape }) => {
    const step = dtypeBits(dtype) === 4 ? 2 : 4
    const ranges = shape.map((size, axis) => {
      const coarse = rising(Math.floor(size / step)).map((range) =>
        extentsOf(range).map(([start, stop]): Extent => [start * step, stop * step]),
      )
      const whole = fc.constant<SelectedRange>([0, size])
      const fine = [whole, rising(size), anyOrder(size)]
      return fc.oneof(...(dtypeBits(dtype) < 8 && axis === shape.length - 1 ? [whole, coarse] : []), ...fine)
    })
    const all = fc.tuple(...ranges) as fc.Arbitrary<SelectedRange[]>
    return fc.record({ dtype: fc.constant(dtype), shape: fc.constant(shape), ranges: all, drop: fc.nat(shape.length) })
  })

describe('resolveSelected(), forEachCopy() and gatherSelected()', () => {
  test('take what a naive choice by elements takes, for all dtypes and extents in any order', () => {
    const seen = { misaligned: 0, subByte: 0, run: 0, boxes: 0, inner: 0 }
    fc.assert(
      fc.property(caseArbitrary, fc.nat(7), fc.nat(7), ({ dtype, shape, ranges, drop }, sourceShift, targetShift) => {
        const used = ranges.slice(0, ranges.length - drop)
        const places = naivePlaces(dtype, shape, used)
        if (places === null) {
          seen.misaligned++
          expect(outcome(() => resolveSelected(dtype, shape, used))).toBe('SAFETENSORS_MISALIGNED_SLICE')
          return
        }
        const source = bytesOf(dtype, shape)
        const expected = Uint8Array.from(places, (place) => source[place]!)
        const part = resolveSelected(dtype, shape, used)
        const isRun = places.every((place, i) => i === 0 || place === places[i - 1]! + 1)
        expect(part).toMatchObject({
          dtype,
          byteLength: expected.length,
          tensorByteLength: source.length,
          contiguous: isRun,
          byteOffset: places[0] ?? 0,
        })
        expect(part.byteLength).toBe(tensorByteLength(dtype, part.shape))
        expect(part.boxes.length === 0).toBe(expected.length === 0)
        // Odd addresses on both sides; words must not be used where they do not fit.
        const shifted = new Uint8Array(new SharedArrayBuffer(source.length + sourceShift), sourceShift)
        shifted.set(source)
        const target = new Uint8Array(part.byteLength + targetShift).subarray(targetShift)
        expect(gatherSelected(shifted, part, target)).toBe(target)
        expect(target).toEqual(expected)
        expect(gatherSelected(source.buffer, part)).toEqual(expected)

        const { result, lengths } = copied(part, source)
        expect(result).toEqual(expected)
        expect(lengths.every((length) => length > 0)).toBe(true)
        expect(lengths.reduce((sum, length) => sum + length, 0)).toBe(part.byteLength)
        if (part.contiguous) expect(lengths.length).toBeLessThanOrEqual(1)
        if (dtypeBits(dtype) < 8) seen.subByte++
        if (part.boxes.length > 1) seen.boxes++
        if (part.boxes.some((box) => !box.target.contiguous)) seen.inner++
        if (isRun) seen.run++
      }),
      tries(1000),
    )
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(5)
  })

  test('make no run shorter than both sides need', () => {
    fc.assert(
      fc.property(caseArbitrary, ({ dtype, shape, ranges }) => {
        if (naivePlaces(dtype, shape, ranges) === null) return
        for (const { source, target } of resolveSelected(dtype, shape, ranges).boxes) {
          const box = { boxes: [{ source, target }] } as unknown as SelectedSlice
          let last = { from: Number.NaN, to: Number.NaN }
          forEachCopy(box, (from, to, length) => {
            expect(from === last.from && to === last.to).toBe(false)
            last = { from: from + length, to: to + length }
          })
        }
      }),
      tries(100),
    )
  })

  test('agree with resolveSlice() and gather() where each dimension has one extent', () => {
    const ranges: Extent[] = [
      [1, 3],
      [2, 5],
    ]
    const source = bytesOf('F32', [4, 6])
    const slice = resolveSlice('F32', [4, 6], ranges)
    const part = resolveSelected('F32', [4, 6], ranges)
    expect(part.boxes.map((box) => box.source)).toEqual([slice])
    expect(part).toMatchObject({ shape: slice.shape, byteOffset: slice.byteOffset, contiguous: false })
    expect(gatherSelected(source, part)).toEqual(gather(source, slice))
  })

  test('agree with the whole tensor for a scalar and for no ranges', () => {
    for (const shape of [[], [3], [2, 2, 2]]) {
      const part = resolveSelected('I16', shape, [])
      expect(part).toMatchObject({ shape, contiguous: true, byteOffset: 0, byteLength: tensorByteLength('I16', shape) })
      expect(gatherSelected(bytesOf('I16', shape), part)).toEqual(bytesOf('I16', shape))
      expect(copied(part, bytesOf('I16', shape)).lengths).toEqual([part.byteLength])
    }
  })
})

describe('resolveSelected()', () => {
  test('makes one box for each choice of an extent in each dimension, in the order of the result', () => {
    const part = resolveSelected('U8', [4, 6], [several([0, 1], [2, 4]), several([0, 2], [5, 6])])
    expect(part).toMatchObject({ shape: [3, 3], byteLength: 9, contiguous: false, byteOffset: 0 })
    expect(part.boxes.map(({ source, target }) => [source.byteOffset, target.byteOffset, source.shape])).toEqual([
      [0, 0, [1, 2]],
      [5, 2, [1, 1]],
      [12, 3, [2, 2]],
      [17, 5, [2, 1]],
    ])
  })

  test.each<[string, number[], SelectedRange[], boolean]>([
    ['extents apart', [6, 2], [several([0, 1], [2, 3])], false],
    ['extents that touch', [6, 2], [several([0, 1], [1, 3])], true],
    ['extents that touch below a whole dimension', [2, 6], [[0, 2], several([0, 2], [2, 6])], true],
    ['extents that touch and are not all', [2, 6], [[0, 2], several([0, 2], [2, 5])], false],
    ['extents that overlap', [6, 2], [several([0, 2], [1, 3])], false],
    ['extents that descend to where the first begins', [6, 2], [several([1, 2], [0, 1])], false],
    ['an extent and empty ones', [6, 2], [several([3, 3], [1, 2], [5, 5])], true],
    ['extents with an empty one between', [6, 2], [several([0, 2], [4, 4], [2, 3])], true],
    ['one extent in a list', [6, 2], [several([1, 4])], true],
    [
      'columns of one row',
      [6, 4],
      [
        [2, 3],
        [1, 3],
      ],
      true,
    ],
    [
      'columns of two rows',
      [6, 4],
      [
        [2, 4],
        [1, 3],
      ],
      false,
    ],
    ['nothing', [6, 2], [several([3, 3], [1, 1])], true],
    ['no extents', [6, 2], [[]], true],
  ])('judges whether %s are one run of bytes', (_, shape, ranges, contiguous) => {
    const part = resolveSelected('F16', shape, ranges)
    expect(part.contiguous).toBe(contiguous)
    if (contiguous) {
      const source = bytesOf('F16', shape)
      const inPlace = source.slice(part.byteOffset, part.byteOffset + part.byteLength)
      expect(gatherSelected(source, part)).toEqual(inPlace)
    }
  })

  test.each<[string, number[], SelectedRange[], number[]]>([
    ['an empty extent', [4, 6], [[2, 2]], [0, 6]],
    ['empty extents', [4, 6], [several([1, 1], [3, 3])], [0, 6]],
    ['no extents', [4, 6], [[0, 4], []], [4, 0]],
    ['several of one dimension and none of another', [4, 6], [several([0, 1], [2, 3]), [6, 6]], [2, 0]],
    ['several beside a dimension without size', [0, 6], [[0, 0], several([0, 1], [2, 4])], [0, 3]],
    [
      'huge dimensions beside one without size',
      [0, 2 ** 64, 2 ** 60],
      [[0, 0], several([0, 1], [5, 2 ** 50])],
      [0, 2 ** 50 - 4, 2 ** 60],
    ],
  ])('gives an empty result for %s', (_, shape, ranges, result) => {
    const part = resolveSelected('F32', shape, ranges)
    expect(part).toMatchObject({ shape: result, byteLength: 0, contiguous: true, byteOffset: 0, boxes: [] })
    forEachCopy(part, () => expect.unreachable())
    expect(gatherSelected(new Uint8Array(part.tensorByteLength), part)).toEqual(new Uint8Array(0))
  })

  test.each<[string, Dtype, number[], SelectedRange[], boolean]>([
    ['even places', 'F4', [12], [several([0, 2], [4, 6])], true],
    ['an odd start', 'F4', [12], [several([0, 2], [5, 7])], false],
    ['an odd length', 'F4', [12], [several([0, 1], [4, 5])], false],
    ['odd extents that touch', 'F4', [12], [several([0, 3], [3, 6])], true],
    ['odd empty extents', 'F4', [12], [several([0, 2], [3, 3], [6, 8])], true],
    ['whole-byte columns', 'F4', [3, 8], [[0, 3], several([0, 2], [6, 8])], true],
    ['whole-byte columns of single rows', 'F4', [5, 8], [several([0, 1], [3, 4]), several([0, 2], [6, 8])], true],
    ['rows of half bytes', 'F4', [4, 3], [several([0, 1], [2, 3])], false],
    ['pairs of rows of half bytes', 'F4', [8, 3], [several([0, 2], [4, 6])], true],
    ['fours', 'F6_E2M3', [16], [several([0, 4], [8, 12])], true],
    ['pairs', 'F6_E2M3', [16], [several([0, 2], [8, 10])], false],
    ['fours at pairs', 'F6_E3M2', [16], [several([0, 4], [6, 10])], false],
    ['rows of fours', 'F6_E3M2', [6, 4], [several([0, 1], [2, 3], [5, 6])], true],
    ['halves of a row of fours', 'F6_E3M2', [6, 4], [[0, 6], several([0, 1], [2, 3])], false],
  ])('judges sub-byte data at %s', (_, dtype, shape, ranges, whole) => {
    expect(naivePlaces(dtype, shape, ranges) !== null).toBe(whole)
    expect(outcome(() => resolveSelected(dtype, shape, ranges))).toBe(whole ? 'ok' : 'SAFETENSORS_MISALIGNED_SLICE')
  })

  test.each<[number[], SelectedRange[], string]>([
    [
      [3, 4],
      [[0, 3], several([0, 1], [2, 5])],
      'stop 5 in dimension 1, which has size 4: it must be an integer from 0 to 4',
    ],
    [
      [3, 4],
      [[0, 4], several([0, 1], [2, 3])],
      'stop 4 in dimension 0, which has size 3: it must be an integer from 0 to 3',
    ],
    [
      [3, 4],
      [several([-1, 1], [2, 3])],
      'start -1 in dimension 0, which has size 3: it must be an integer from 0 to 3',
    ],
    [[3, 4], [several([0, 1], [3, 2])], 'stop 2 in dimension 0, which has size 3: it must be at least the start, 3'],
    [
      [3, 4],
      [several([0, 1], [2, 2.5])],
      'stop 2.5 in dimension 0, which has size 3: it must be an integer from 0 to 3',
    ],
    [
      [3, 4],
      [several([0, 1], [Number.NaN, 3])],
      'start NaN in dimension 0, which has size 3: it must be an integer from 0 to 3',
    ],
    [[0, 4], [several([0, 0], [0, 1])], 'stop 1 in dimension 0, which has size 0: it must be an integer from 0 to 0'],
    [[3], [several([0, 1], [2, 3]), [0, 1], [0, 1]], '3 ranges, but the tensor has 1 dimensions'],
    [[3], [[0, 3], []], '2 ranges, but the tensor has 1 dimensions'],
    [[], [several([0, 1], [2, 3])], '1 ranges, but the tensor has 0 dimensions'],
    [
      [2 ** 40, 2 ** 40],
      [several([0, 1], [2, 2 ** 41])],
      `stop ${2 ** 41} in dimension 0, which has size ${2 ** 40}: it must be an integer from 0 to ${2 ** 40}`,
    ],
  ])('refuses of %j the ranges %j', (shape, ranges, what) => {
    expect(thrownBy(() => resolveSelected('U8', shape, ranges, 'w'))).toMatchObject({
      code: 'SAFETENSORS_INVALID_SLICE',
      tensor: 'w',
      message: `The slice of tensor "w" has ${what}`,
    })
  })

  test('names the tensor where a boundary is no whole byte', () => {
    expect(thrownBy(() => resolveSelected('F4', [12], [several([0, 2], [4, 5])], 'q'))).toMatchObject({
      tensor: 'q',
      message: 'The slice of tensor "q" has a boundary at bit 4 of F4 data, which must be a whole byte',
    })
  })

  test('refuses a tensor without a size, by its own dtype, and a result without one', () => {
    const ranges = [several([0, 1], [2, 3])]
    const huge = [2 ** 50]
    expect(thrownBy(() => resolveSelected('F64', huge, ranges, 'w'))).toMatchObject({
      code: 'SAFETENSORS_VALIDATION_OVERFLOW',
      tensor: 'w',
    })
    expect(outcome(() => resolveSelected('U8', huge, ranges))).toBe('ok')
    // Whatever is given often enough has no size.
    const often = Array.from({ length: 99 }, (): Extent => [0, 2 ** 24])
    expect(outcome(() => resolveSelected('U8', [2 ** 24, 2 ** 24], [often, often]))).toBe(
      'SAFETENSORS_VALIDATION_OVERFLOW',
    )
    expect(outcome(() => resolveSelected('F4', [3], ranges))).toBe('SAFETENSORS_MISALIGNED_SLICE')
  })

  test('refuses more boxes than fit in memory, without making them', () => {
    const shape = [10_000, 10_000, 10_000]
    const ranges = [combs(5000), combs(5000), combs(5000)]
    expect(thrownBy(() => resolveSelected('U8', shape, ranges, 'w'))).toMatchObject({
      code: 'SAFETENSORS_INVALID_SLICE',
      tensor: 'w',
      message:
        'The slice of tensor "w" has 5000 × 5000 × 5000 extents, which make 125000000000 boxes: it must have at most 262144',
      details: { boxes: 5000 ** 3 },
    })
  })

  test('takes tens of thousands of extents in one dimension', () => {
    const source = bytesOf('F16', [100_000, 3])
    const part = resolveSelected('F16', [100_000, 3], [combs(50_000), [1, 3]])
    const words = new Uint16Array(source.buffer).filter((_, i) => Math.floor(i / 3) % 2 === 0 && i % 3 > 0)
    expect(part.boxes.length).toBe(50_000)
    expect(gatherSelected(source, part)).toEqual(new Uint8Array(words.buffer))
  })

  test('throws TypeError for a range of the wrong form', () => {
    for (const range of [
      '0:2',
      3,
      null,
      undefined,
      {},
      [0],
      [0, 4, 2],
      [0, null],
      [[0, 1, 1]],
      [[0, 1], 3],
      new Array(2),
    ]) {
      const run = () => resolveSelected('U8', [4, 4], [[0, 4], range as unknown as SelectedRange])
      expect(run).toThrow(new TypeError('The range of dimension 1 must be [start, stop] or an array of such'))
    }
    const holes = Object.assign(new Array(2), { 1: [0, 1] })
    expect(() => resolveSelected('U8', [4, 4], holes)).toThrow(TypeError)
  })
})

describe('forEachCopy()', () => {
  test('gives places in the tensor and in the result, box by box', () => {
    const copies: number[][] = []
    const part = resolveSelected('F16', [2, 2, 8], [[0, 2], [1, 2], several([0, 2], [4, 8])])
    forEachCopy(part, (...copy) => copies.push(copy))
    expect(copies).toEqual([
      [16, 0, 4],
      [48, 12, 4],
      [24, 4, 8],
      [56, 16, 8],
    ])
  })

  test('cuts a run where the other side breaks', () => {
    // The first box is whole rows of the tensor, and columns of the result.
    const copies: number[][] = []
    forEachCopy(resolveSelected('U8', [2, 3], [[0, 2], several([0, 3], [0, 1])]), (...copy) => copies.push(copy))
    expect(copies).toEqual([
      [0, 0, 3],
      [3, 4, 3],
      [0, 3, 1],
      [3, 7, 1],
    ])
  })
})

describe('gatherSelected()', () => {
  test('copies long runs of inner dimensions', () => {
    const source = bytesOf('U8', [7, 300])
    const part = resolveSelected('U8', [7, 300], [[0, 7], several([3, 103], [150, 299])])
    const expected = Array.from({ length: 7 }, (_, row) => [
      ...source.subarray(row * 300 + 3, row * 300 + 103),
      ...source.subarray(row * 300 + 150, row * 300 + 299),
    ]).flat()
    expect(gatherSelected(source, part)).toEqual(Uint8Array.from(expected))
  })

  test('reads from a tensor above 4 GiB, which no view spans', () => {
    const [rows, width] = [9, 2 ** 29 + 6]
    const source = new SharedArrayBuffer(rows * width) // reserved, hardly touched
    for (let row = 0; row < rows; row++) new Uint8Array(source, row * width + 9, 5).set([row, 100, 101, 102, 200 + row])
    const inner = resolveSelected('U8', [rows, width], [several([0, 1], [3, rows]), several([9, 10], [13, 14])])
    expect([...gatherSelected(source, inner)]).toEqual([0, 3, 4, 5, 6, 7, 8].flatMap((row) => [row, 200 + row]))
    const outer = resolveSelected('U8', [rows, width], [several([0, 1], [3, rows]), [9, 10]])
    expect([...gatherSelected(source, outer)]).toEqual([0, 3, 4, 5, 6, 7, 8])
  })

  test.each<[string, SelectedRange[]]>([
    ['one box', [[0, 2]]],
    ['several boxes', [several([0, 1], [2, 4])]],
    ['boxes of columns', [[0, 4], several([0, 1], [2, 4])]],
    ['no box', [[2, 2]]],
  ])('refuses a source or a target of another length, for %s', (_, ranges) => {
    const part = resolveSelected('U8', [4, 4], ranges)
    for (const length of [15, 17]) {
      const message = `The source has ${length} bytes, but must have 16`
      expect(() => gatherSelected(new Uint8Array(length), part)).toThrow(new RangeError(message))
    }
    const { byteLength } = part
    const message = `The target has ${byteLength + 1} bytes, but must have ${byteLength}`
    const run = () => gatherSelected(new Uint8Array(16), part, new Uint8Array(byteLength + 1))
    expect(run).toThrow(new RangeError(message))
  })
})

test('extentsOf() gives the extents however they were written', () => {
  expect(extentsOf([1, 2])).toEqual([[1, 2]])
  expect(extentsOf(several([1, 2], [4, 5]))).toEqual(several([1, 2], [4, 5]))
  expect(extentsOf(several([1, 2]))).toEqual([[1, 2]])
  expect(extentsOf([])).toEqual([])
})

test('joinTouching() joins extents that lie end to end, in their order, and leaves out empty ones', () => {
  expect(joinTouching(several([0, 2], [2, 3], [4, 5], [5, 9]))).toEqual(several([0, 3], [4, 9]))
  expect(joinTouching(several([4, 6], [6, 6], [6, 7], [0, 4], [2, 5]))).toEqual(several([4, 7], [0, 4], [2, 5]))
  expect(joinTouching([])).toEqual([])
})

test('extentChoices() takes one extent of each dimension, the last changing fastest', () => {
  expect([...extentChoices([several([5, 6]), several([0, 2], [3, 4])])]).toEqual([
    { from: several([5, 6], [0, 2]), to: several([0, 1], [0, 2]) },
    { from: several([5, 6], [3, 4]), to: several([0, 1], [2, 3]) },
  ])
  expect([...extentChoices([])]).toEqual([{ from: [], to: [] }])
  expect([...extentChoices([several([5, 6]), []])]).toEqual([])
})
