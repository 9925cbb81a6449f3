import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { balancedCounts, leastCosts, leastPeak } from '../src/partition.ts'

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0)

/** Every cut of units in a row into stages, as counts. */
function* cuts(unitCount: number, stageCount: number): Generator<readonly number[], void> {
  if (stageCount === 1) {
    yield [unitCount]
    return
  }
  for (let first = 0; first <= unitCount; first++) {
    for (const rest of cuts(unitCount - first, stageCount - 1)) yield [first, ...rest]
  }
}

/** For each stage the half-open range of its units. */
function ranges(counts: readonly number[]): readonly (readonly [begin: number, end: number])[] {
  return counts.map((count, stage) => {
    const begin = sum(counts.slice(0, stage))
    return [begin, begin + count]
  })
}

const drawn = fc.record({
  units: fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 7 }),
  stages: fc.array(fc.record({ fixed: fc.integer({ min: 0, max: 30 }), weight: fc.integer({ min: 1, max: 3 }) }), {
    minLength: 1,
    maxLength: 4,
  }),
})

describe('balancedCounts()', () => {
  test('deals equal units by weight, the rest to the largest remainders', () => {
    expect(balancedCounts([5, 5, 5, 5], [0, 0], [1, 1])).toEqual([2, 2])
    expect(balancedCounts(Array(10).fill(1), [0, 0, 0], [2, 1, 1])).toEqual([5, 3, 2])
    expect(balancedCounts(Array(80).fill(1), [0, 0, 0], [1, 1, 1])).toEqual([27, 27, 26])
  })

  test('counts what a stage holds anyway', () => {
    expect(balancedCounts(Array(10).fill(10), [40, 0], [1, 1])).toEqual([3, 7])
    expect(balancedCounts(Array(10).fill(10), [20, 20], [1, 1])).toEqual([5, 5])
  })

  test('gives each stage at least one where there are enough, and takes it from the others in proportion', () => {
    expect(balancedCounts(Array(9).fill(1), [100, 0, 0], [1, 1, 1])).toEqual([1, 4, 4])
    expect(balancedCounts([1, 1], [0, 0, 0], [1, 1, 1])).toEqual([1, 1, 0])
    expect(balancedCounts([], [5, 0], [1, 1])).toEqual([0, 0])
    expect(balancedCounts([0, 0, 0], [0, 0, 0], [1, 1, 1])).toEqual([1, 1, 1])
  })

  test('deals every unit once, with one for each stage where there are enough', () => {
    fc.assert(
      fc.property(drawn, ({ units, stages }) => {
        const counts = balancedCounts(
          units,
          stages.map(({ fixed }) => fixed),
          stages.map(({ weight }) => weight),
        )
        expect(sum(counts)).toBe(units.length)
        expect(Math.min(...counts)).toBeGreaterThanOrEqual(units.length >= stages.length ? 1 : 0)
      }),
      { numRuns: 500 },
    )
  })
})

test('leastPeak() is the least of all cuts', () => {
  fc.assert(
    fc.property(drawn, ({ units, stages }) => {
      const peak = (stage: number, begin: number, end: number) => {
        return (stages[stage]!.fixed + sum(units.slice(begin, end))) / stages[stage]!.weight
      }
      const all = [...cuts(units.length, stages.length)].map((counts) => {
        return Math.max(...ranges(counts).map(([begin, end], stage) => peak(stage, begin, end)))
      })
      expect(leastPeak(units.length, stages.length, peak)).toBe(Math.min(...all))
    }),
    { numRuns: 500 },
  )
})

test('leastCosts() is the allowed cut with the least sums, or null', () => {
  const limits = fc.integer({ min: 0, max: 60 })
  fc.assert(
    fc.property(
      drawn,
      limits,
      fc.array(fc.array(fc.nat({ max: 3 }), { minLength: 7, maxLength: 7 }), { minLength: 4, maxLength: 4 }),
      (model, limit, moved) => {
        const { units, stages } = model
        const held = (stage: number, begin: number, end: number) => stages[stage]!.fixed + sum(units.slice(begin, end))
        const judge = {
          allowed: (stage: number, begin: number, end: number) => held(stage, begin, end) <= limit,
          costs: (stage: number, begin: number, end: number) => {
            return [sum(moved[stage]!.slice(begin, end)), held(stage, begin, end) ** 2] as const
          },
        }
        const total = (counts: readonly number[]) => {
          const costs = ranges(counts).map(([begin, end], stage) => judge.costs(stage, begin, end))
          return [sum(costs.map(([first]) => first)), sum(costs.map(([, second]) => second))] as const
        }
        const allowed = [...cuts(units.length, stages.length)].filter((counts) => {
          return ranges(counts).every(([begin, end], stage) => begin === end || judge.allowed(stage, begin, end))
        })
        const best = allowed.map(total).sort(([a, b], [c, d]) => a - c || b - d)[0]
        const counts = leastCosts(units.length, stages.length, judge)
        if (best === undefined) expect(counts).toBeNull()
        else expect(total(counts!)).toEqual(best)
      },
    ),
    { numRuns: 500 },
  )
})
