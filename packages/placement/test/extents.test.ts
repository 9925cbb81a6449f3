import { expect, test } from 'vitest'
import { canonicalRanges, extentsByDimension, takesAll } from '../src/extents.ts'

test('canonicalRanges() leaves out whole dimensions behind the last that is cut', () => {
  expect(canonicalRanges([4, 6, 8], new Map([[1, [[2, 4]]]]))).toEqual([
    [0, 4],
    [2, 4],
  ])
  expect(canonicalRanges([4, 6], new Map())).toEqual([])
})

test('canonicalRanges() writes one extent by itself, and several as a list', () => {
  const several = [
    [0, 1],
    [2, 3],
  ] as const
  expect(canonicalRanges([4, 6], new Map([[0, several]]))).toEqual([several])
})

test('extentsByDimension() has whole dimensions too, which takesAll() knows', () => {
  const extents = extentsByDimension([4, 6, 0], [[1, 4]])
  expect(extents).toEqual([[[1, 4]], [[0, 6]], [[0, 0]]])
  expect(extents.map((one, dimension) => takesAll(one, [4, 6, 0][dimension]!))).toEqual([false, true, true])
})
