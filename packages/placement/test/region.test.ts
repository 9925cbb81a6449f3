import type { SelectedRange } from '@onecopy/safetensors'
import { DTYPE_NAMES, dtypeBits, tensorByteLength } from '@onecopy/safetensors'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  commonElements,
  countElements,
  elementsByteLength,
  firstOverlap,
  firstUncovered,
  isWhole,
  joinRanges,
} from '../src/region.ts'
import { elementsOf, selectionsArbitrary } from './plans.ts'

/** An element's indices. */
function indicesOf(shape: readonly number[], element: number): number[] {
  const indices: number[] = []
  let rest = element
  for (const size of [...shape].reverse()) {
    indices.unshift(rest % size)
    rest = Math.floor(rest / size)
  }
  return indices
}

describe('counting agrees with a count element by element', () => {
  test('of one selection, and of what is common to it and any of the others', () => {
    fc.assert(
      fc.property(selectionsArbitrary, ({ shape, list }) => {
        const sets = list.map((ranges) => new Set(elementsOf(shape, ranges)))
        const [first, ...others] = sets
        const unionOfOthers = new Set(others.flatMap((set) => [...set]))
        expect(countElements(shape, list[0]!)).toBe(first!.size)
        expect(commonElements(shape, list[0]!, list.slice(1))).toBe(
          [...first!].filter((element) => unionOfOthers.has(element)).length,
        )
        const last = sets.at(-1)!
        expect(commonElements(shape, list[0]!, [list.at(-1)!])).toBe(
          [...first!].filter((element) => last.has(element)).length,
        )
      }),
      { numRuns: 500 },
    )
  })

  test('of the first overlap and the first gap', () => {
    fc.assert(
      fc.property(selectionsArbitrary, ({ shape, list }) => {
        const sets = list.map((ranges) => new Set(elementsOf(shape, ranges)))
        const all = elementsOf(shape, [])
        const holders = (element: number) => [...sets.keys()].filter((at) => sets[at]!.has(element))
        const shared = all.find((element) => holders(element).length > 1)
        const missing = all.find((element) => holders(element).length === 0)
        const overlap = firstOverlap(shape, list)
        expect(overlap?.place).toEqual(shared === undefined ? undefined : indicesOf(shape, shared))
        if (overlap !== undefined)
          expect(holders(shared!)).toEqual(expect.arrayContaining([overlap.first, overlap.second]))
        if (overlap !== undefined) expect(overlap.first).toBeLessThan(overlap.second)
        expect(firstUncovered(shape, list)).toEqual(missing === undefined ? undefined : indicesOf(shape, missing))
      }),
      { numRuns: 500 },
    )
  })
})

describe('joinRanges()', () => {
  test('gives a selection with just the elements of disjoint ones, or none where there is no such selection', () => {
    let joinedCount = 0
    let refusedCount = 0
    fc.assert(
      fc.property(selectionsArbitrary, ({ shape, list }) => {
        fc.pre(firstOverlap(shape, list) === undefined && list.length > 1)
        const elements = list.flatMap((ranges) => elementsOf(shape, ranges)).sort((a, b) => a - b)
        const joined = joinRanges(shape, list)
        if (joined !== undefined) {
          joinedCount++
          expect(elementsOf(shape, joined)).toEqual(elements)
          return
        }
        refusedCount++
        // The smallest product around the elements holds others too.
        const taken = shape.map((_, axis) => new Set(elements.map((element) => indicesOf(shape, element)[axis])).size)
        expect(taken.reduce((product, size) => product * size, 1)).toBeGreaterThan(elements.length)
      }),
      { numRuns: 3000, seed: 7 },
    )
    expect(joinedCount).toBeGreaterThan(0)
    expect(refusedCount).toBeGreaterThan(0)
  })

  test('joins what touches, keeps gaps, and leaves out whole dimensions at the end', () => {
    expect(joinRanges([8, 4], [[[0, 2]], [[2, 4]]])).toEqual([[0, 4]])
    expect(joinRanges([8, 4], [[[6, 8]], [[0, 2]]])).toEqual([
      [
        [0, 2],
        [6, 8],
      ],
    ])
    const left: SelectedRange[] = [
      [0, 8],
      [0, 2],
    ]
    const right: SelectedRange[] = [
      [0, 8],
      [2, 4],
    ]
    expect(joinRanges([8, 4], [left, right])).toEqual([])
    expect(joinRanges([8, 4], [left])).toBe(left)
    expect(joinRanges([8, 0], [[[0, 4]], [[4, 8]]])).toEqual([[0, 4]])
  })
})

describe('isWhole()', () => {
  test('knows ranges that take everything, however they are written', () => {
    expect(isWhole([4, 6], [])).toBe(true)
    expect(isWhole([4, 6], [[0, 4]])).toBe(true)
    expect(isWhole([], [])).toBe(true)
    expect(isWhole([0], [[0, 0]])).toBe(true)
    expect(isWhole([4, 6], [[0, 3]])).toBe(false)
    expect(
      isWhole(
        [4],
        [
          [
            [0, 1],
            [2, 4],
          ],
        ],
      ),
    ).toBe(false)
  })
})

describe('large and odd shapes', () => {
  test('counts are exact up to 2^53 bytes', () => {
    const shape = [2 ** 26, 2 ** 27 - 1]
    const elements = 2 ** 53 - 2 ** 26
    expect(countElements(shape, [])).toBe(elements)
    expect(commonElements(shape, [], [[[0, 2 ** 25]], [[5, 2 ** 26]]])).toBe(elements)
    expect(commonElements(shape, [[1, 2 ** 26]], [[[0, 2]], [[0, 1]]])).toBe(2 ** 27 - 1)
  })

  test.each(DTYPE_NAMES)('bytes of %s elements are as tensorByteLength says', (dtype) => {
    for (const elements of [0, 4, 12, 4 * 1_000_003, 2 ** 49 - 4]) {
      if (elements === 2 ** 49 - 4 && dtypeBits(dtype) > 32) continue
      expect(elementsByteLength(dtype, elements)).toBe(tensorByteLength(dtype, [elements]))
    }
  })

  test('dimensions beside a zero are not multiplied', () => {
    const shape = [...Array.from({ length: 30 }, () => 2 ** 53 - 1), 0]
    expect(countElements(shape, [])).toBe(0)
    expect(commonElements(shape, [], [[], [[0, 1]]])).toBe(0)
    expect(firstOverlap(shape, [[], []])).toBeUndefined()
    expect(firstUncovered(shape, [])).toBeUndefined()
  })

  test('a hundred thousand dimensions are no recursion', () => {
    const shape = [...Array.from({ length: 100_000 }, () => 1), 2]
    const whole: SelectedRange[] = shape.map((size) => [0, size])
    const half: SelectedRange[] = [...whole.slice(0, -1), [1, 2]]
    expect(commonElements(shape, [], [whole, half])).toBe(2)
    expect(firstOverlap(shape, [whole, half])?.place.at(-1)).toBe(1)
    expect(firstUncovered(shape, [half])?.at(-1)).toBe(0)
  })

  test('a thousand slices and a grid of pieces are disjoint and complete', () => {
    const rows = Array.from({ length: 1000 }, (_, at): SelectedRange[] => [[at * 4, at * 4 + 4]])
    expect(firstOverlap([4000, 7], rows)).toBeUndefined()
    expect(firstUncovered([4000, 7], rows)).toBeUndefined()
    expect(firstUncovered([4000, 7], rows.slice(0, -1))).toEqual([3996, 0])
    const grid = Array.from({ length: 32 * 32 }, (_, at): SelectedRange[] => {
      const [row, column] = [Math.floor(at / 32), at % 32]
      return [
        [row * 2, row * 2 + 2],
        [column, column + 1],
      ]
    })
    expect(commonElements([64, 32], [], grid)).toBe(2048)
    expect(
      firstOverlap(
        [64, 32],
        [
          ...grid,
          [
            [63, 64],
            [31, 32],
          ],
        ],
      ),
    ).toEqual({ first: 1023, second: 1024, place: [63, 31] })
  })
})
