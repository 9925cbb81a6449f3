import fc from 'fast-check'
import { expect, test } from 'vitest'
import { leastAssignment } from '../src/assignment.ts'

function* permutations(rest: readonly number[]): Generator<readonly number[], void> {
  if (rest.length === 0) yield []
  for (const first of rest) {
    for (const others of permutations(rest.filter((other) => other !== first))) yield [first, ...others]
  }
}

test('leastAssignment() has the least sum of all, and null where there is none', () => {
  const cost = fc.oneof(
    { weight: 5, arbitrary: fc.integer({ min: -20, max: 20 }) },
    fc.constant(Number.POSITIVE_INFINITY),
  )
  const square = fc
    .integer({ min: 0, max: 5 })
    .chain((size) =>
      fc.array(fc.array(cost, { minLength: size, maxLength: size }), { minLength: size, maxLength: size }),
    )
  const outcomes = new Set<string>()
  fc.assert(
    fc.property(square, (costs) => {
      const sum = (columns: readonly number[]) =>
        columns.reduce((total, column, row) => total + costs[row]![column]!, 0)
      const least = Math.min(...[...permutations([...costs.keys()])].map(sum))
      const found = leastAssignment(costs)
      outcomes.add(found === null ? 'none' : 'some')
      if (least === Number.POSITIVE_INFINITY) expect(found).toBeNull()
      else {
        expect([...found!].sort((a, b) => a - b)).toEqual([...costs.keys()])
        expect(sum(found!)).toBe(least)
      }
    }),
    { numRuns: 500 },
  )
  expect(outcomes.size).toBe(2)
})

test('leastAssignment() leaves rows at their own columns when all cost the same', () => {
  expect(leastAssignment([1, 2, 3].map(() => [7, 7, 7]))).toEqual([0, 1, 2])
})
