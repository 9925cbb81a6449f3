import { expect, test } from 'vitest'
import { canonicalRanges, mergeExtents } from '../src/extents.ts'

test('mergeExtents() joins extents that touch, and only those', () => {
  expect(
    mergeExtents([
      [0, 2],
      [2, 3],
      [4, 5],
      [5, 9],
    ]),
  ).toEqual([
    [0, 3],
    [4, 9],
  ])
  expect(mergeExtents([])).toEqual([])
})

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
