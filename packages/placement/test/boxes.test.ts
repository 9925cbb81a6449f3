import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { boxesOf, elementRuns, elementSpan } from '../src/boxes.ts'
import { elementsOf, selectionsArbitrary } from './plans.ts'

/** A selection that is not empty, of a tensor of up to three dimensions. */
const selectionArbitrary = selectionsArbitrary
  .map(({ shape, list }) => ({ shape, ranges: list[0]! }))
  .filter(({ shape, ranges }) => elementsOf(shape, ranges).length > 0)

describe('boxesOf()', () => {
  test('puts every element of the result where it belongs', () => {
    fc.assert(
      fc.property(selectionArbitrary, ({ shape, ranges }) => {
        const elements = elementsOf(shape, ranges)
        const result: number[] = []
        const resultShape = shape.map((size, dimension) => {
          return elementsOf([size], ranges.slice(dimension, dimension + 1)).length
        })
        for (const { offsets, lengths, targetOffsets } of boxesOf(shape, ranges)) {
          const box = (starts: readonly number[]) => {
            return starts.map((start, dimension) => [start, start + lengths[dimension]!] as const)
          }
          const targets = elementsOf(resultShape, box(targetOffsets))
          for (const [at, element] of elementsOf(shape, box(offsets)).entries()) {
            expect(result[targets[at]!]).toBeUndefined()
            result[targets[at]!] = element
          }
        }
        expect(result).toEqual(elements)
      }),
      { numRuns: 500 },
    )
  })

  test('is one box for a tensor without dimensions', () => {
    expect(boxesOf([], [])).toEqual([{ offsets: [], lengths: [], targetOffsets: [] }])
  })
})

describe('elementRuns() and elementSpan()', () => {
  test('cover just the elements, in order', () => {
    fc.assert(
      fc.property(selectionArbitrary, ({ shape, ranges }) => {
        const elements = elementsOf(shape, ranges)
        const runs = [...elementRuns(shape, ranges)]
        const covered = runs.flatMap(([begin, end]) => Array.from({ length: end - begin }, (_, at) => begin + at))
        expect(covered).toEqual(elements)
        expect(elementSpan(shape, ranges)).toEqual([elements[0], elements.at(-1)! + 1])
      }),
      { numRuns: 500 },
    )
  })

  test('take no longer than what is asked for of a large tensor', () => {
    const shape = [2 ** 20, 2 ** 20, 8]
    const runs = elementRuns(shape, [
      [5, 2 ** 20],
      [
        [1, 2],
        [4, 6],
      ],
    ])
    expect([runs.next().value, runs.next().value, runs.next().value]).toEqual([
      [(5 * 2 ** 20 + 1) * 8, (5 * 2 ** 20 + 2) * 8],
      [(5 * 2 ** 20 + 4) * 8, (5 * 2 ** 20 + 6) * 8],
      [(6 * 2 ** 20 + 1) * 8, (6 * 2 ** 20 + 2) * 8],
    ])
  })
})
