import { describe, expect, test } from 'vitest'
import { resolveSlice, type SliceRange } from '../src/slice.ts'
import { outcome, thrownBy } from './bytes.ts'

describe('resolveSlice()', () => {
  test('gives a slice of the leading dimension as one range of bytes', () => {
    expect(resolveSlice('F32', [10, 3, 4], [[2, 5]])).toEqual({
      dtype: 'F32',
      shape: [3, 3, 4],
      byteLength: 144,
      tensorByteLength: 480,
      byteOffset: 96,
      contiguous: true,
      runByteLength: 144,
      loops: [],
    })
  })

  test.each<[string, number[], SliceRange[], number[]]>([
    ['no ranges', [2, 3], [], [2, 3]],
    ['whole dimensions', [2, 3], [null, [0, 3]], [2, 3]],
    ['a scalar', [], [], []],
    ['one index', [4, 3], [1], [3]],
    ['one element', [4, 3], [1, 2], []],
    ['a part of a row', [4, 3], [1, [1, 3]], [2]],
    ['leading dimensions of size one', [1, 1, 4, 3], [null, null, [1, 3]], [1, 1, 2, 3]],
    [
      'a part below one kept index',
      [4, 3, 2],
      [
        [2, 3],
        [1, 3],
      ],
      [1, 2, 2],
    ],
    ['a step that takes one', [9, 3], [[4, 9, 5]], [1, 3]],
    ['a step over a dimension of size one', [1, 3], [[0, 1, 7]], [1, 3]],
    ['the last column of a single row', [1, 5], [null, -1], [1]],
    ['nothing', [4, 3], [null, [1, 1]], [4, 0]],
    [
      'nothing of nothing',
      [0, 3],
      [
        [0, 0],
        [1, 2],
      ],
      [0, 1],
    ],
  ])('calls %s contiguous', (_, shape, ranges, expected) => {
    const slice = resolveSlice('F16', shape, ranges)
    expect(slice).toMatchObject({ shape: expected, contiguous: true, loops: [] })
    expect(slice.byteLength).toBe(2 * expected.reduce((a, b) => a * b, 1))
  })

  test('describes columns by loops, joined where they can be', () => {
    expect(resolveSlice('F32', [10, 8], [null, [2, 4]])).toMatchObject({
      shape: [10, 2],
      contiguous: false,
      byteOffset: 8,
      runByteLength: 8,
      byteLength: 80,
      loops: [{ count: 10, byteStride: 32 }],
    })
    // The two outer dimensions are one loop of 5 × 10 rounds.
    expect(resolveSlice('F32', [5, 10, 8], [null, null, [2, 4]]).loops).toEqual([{ count: 50, byteStride: 32 }])
    expect(resolveSlice('F32', [5, 10, 8], [null, [1, 9], [2, 4]]).loops).toEqual([
      { count: 5, byteStride: 320 },
      { count: 8, byteStride: 32 },
    ])
  })

  test('is as small as the shape, however many runs there are', () => {
    const slice = resolveSlice('U8', [2 ** 25, 2 ** 25], [null, [0, 1]])
    expect(slice).toMatchObject({ runByteLength: 1, loops: [{ count: 2 ** 25, byteStride: 2 ** 25 }] })
  })

  test('takes steps', () => {
    expect(resolveSlice('U8', [10], [[1, 10, 4]])).toMatchObject({
      shape: [3],
      byteOffset: 1,
      runByteLength: 1,
      loops: [{ count: 3, byteStride: 4 }],
    })
    expect(resolveSlice('F32', [10, 3], [[0, null, 5]])).toMatchObject({
      shape: [2, 3],
      runByteLength: 12,
      loops: [{ count: 2, byteStride: 60 }],
    })
  })

  test.each<[number[], SliceRange[], string]>([
    [[3], [3], 'The slice has index 3 in dimension 0, which has size 3: it must be an integer from -3 to 2'],
    [[3], [-4], 'The slice has index -4 in dimension 0, which has size 3: it must be an integer from -3 to 2'],
    [[3], [0.5], 'The slice has index 0.5 in dimension 0, which has size 3: it must be an integer from -3 to 2'],
    [
      [3, 0],
      [null, 0],
      'The slice has index 0 in dimension 1, which has size 0: it must be a range, since there is no index',
    ],
    [
      [3, 4],
      [null, [5, 5]],
      'The slice has start 5 in dimension 1, which has size 4: it must be an integer from 0 to 4',
    ],
    [
      [3, 4],
      [null, [-1, 2]],
      'The slice has start -1 in dimension 1, which has size 4: it must be an integer from 0 to 4',
    ],
    [[3], [[0, 4]], 'The slice has stop 4 in dimension 0, which has size 3: it must be an integer from 0 to 3'],
    [[3], [[0, -1]], 'The slice has stop -1 in dimension 0, which has size 3: it must be an integer from 0 to 3'],
    [[3], [[2, 1]], 'The slice has stop 1 in dimension 0, which has size 3: it must be at least the start, 2'],
    [[3], [[0, 3, 0]], 'The slice has step 0 in dimension 0, which has size 3: it must be a positive integer'],
    [[3], [[0, 3, -1]], 'The slice has step -1 in dimension 0, which has size 3: it must be a positive integer'],
    [
      [3],
      [[0, Number.NaN]],
      'The slice has stop NaN in dimension 0, which has size 3: it must be an integer from 0 to 3',
    ],
    [[3], [null, null], 'The slice has 2 ranges, but the tensor has 1 dimensions'],
  ])('refuses of %j the slice %j', (shape, ranges, message) => {
    const error = thrownBy(() => resolveSlice('U8', shape, ranges))
    expect(error).toMatchObject({ code: 'SAFETENSORS_INVALID_SLICE', message })
  })

  test('names the tensor', () => {
    expect(thrownBy(() => resolveSlice('U8', [3], [7], 'w'))).toMatchObject({
      tensor: 'w',
      message: expect.stringMatching(/^The slice of tensor "w" has index 7 /),
      details: { axis: 0, value: 7, size: 3 },
    })
  })

  test.each<[string, 'F4' | 'F6_E2M3', number[], SliceRange[], boolean]>([
    ['at even elements', 'F4', [8], [[2, 6]], true],
    ['from an odd element', 'F4', [8], [[1, 3]], false],
    ['to an odd element', 'F4', [8], [[0, 3]], false],
    ['of one element', 'F4', [8], [2], false],
    ['of no elements at an odd place', 'F4', [8], [[3, 3]], true],
    ['of rows of whole bytes', 'F4', [3, 2], [[1, 2]], true],
    ['of rows of half bytes', 'F4', [2, 3], [[0, 1]], false],
    ['of all rows of half bytes', 'F4', [2, 3], [null, [0, 3]], true],
    ['of whole-byte columns', 'F4', [3, 4], [null, [2, 4]], true],
    ['of columns in rows of half bytes', 'F4', [4, 3], [null, [0, 2]], false],
    ['with a step of pairs', 'F4', [8, 2], [[0, 8, 3]], true],
    ['with a step of elements', 'F4', [8], [[0, 8, 2]], false],
    ['at fours', 'F6_E2M3', [12], [[4, 8]], true],
    ['at pairs', 'F6_E2M3', [12], [[2, 6]], false],
  ])('judges a sub-byte slice %s', (_, dtype, shape, ranges, whole) => {
    expect(outcome(() => resolveSlice(dtype, shape, ranges))).toBe(whole ? 'ok' : 'SAFETENSORS_MISALIGNED_SLICE')
  })

  test('slices a tensor without elements whose other dimensions are huge', () => {
    expect(resolveSlice('U8', [0, 2 ** 64, 2 ** 64], [null, [5, 2 ** 60]])).toMatchObject({ byteLength: 0 })
  })

  test('refuses a tensor without a size and a range of the wrong form', () => {
    expect(outcome(() => resolveSlice('U8', [2 ** 40, 2 ** 40], []))).toBe('SAFETENSORS_VALIDATION_OVERFLOW')
    expect(outcome(() => resolveSlice('F4', [3], []))).toBe('SAFETENSORS_MISALIGNED_SLICE')
    expect(outcome(() => resolveSlice('U8', [-3], []))).toBe('SAFETENSORS_TENSOR_INVALID_INFO')
    for (const range of ['0:2', {}, true]) {
      expect(() => resolveSlice('U8', [3], [range as unknown as SliceRange])).toThrow(TypeError)
    }
  })
})
