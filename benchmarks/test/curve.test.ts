import { expect, it } from 'vitest'
import { exponentOf, findBend, fitExponent } from '../harness/curve.mjs'

const DECADES = [1, 10, 100, 1000, 10_000]

it('fitExponent() finds the power that a cost grows with', () => {
  expect(
    fitExponent(
      DECADES,
      DECADES.map((x) => 3 * x ** 0.7),
    ),
  ).toBeCloseTo(0.7, 10)
  expect(
    fitExponent(
      DECADES,
      DECADES.map(() => 5),
    ),
  ).toBeCloseTo(0, 10)
})

it('findBend() finds where a constant cost begins to grow', () => {
  const bend = findBend(DECADES, steady(DECADES.map((x) => Math.max(100, x))))
  expect(bend?.at).toBe(100)
  expect(bend?.before).toBeCloseTo(0, 1)
  expect(bend?.after).toBeCloseTo(1, 1)
})

it('findBend() finds none in a straight line, in three points and in noise', () => {
  expect(findBend(DECADES, steady(DECADES.map((x) => x ** 0.9)))).toBeNull()
  expect(findBend([1, 10, 100], steady([1, 1, 100]))).toBeNull()
  const restless = DECADES.map((_, at) => [1, 2, 9, 20].map((value, round) => ((at + round) % 2 === 0 ? value : 40)))
  expect(findBend(DECADES, restless)).toBeNull()
})

it('exponentOf() gives an interval that holds the exponent', () => {
  const samples = DECADES.map((x) => [x, x * 1.1, x * 0.9, x * 1.05])
  const { exponent, low, high } = exponentOf(DECADES, samples)
  expect(exponent).toBeCloseTo(1, 1)
  expect(low).toBeLessThanOrEqual(exponent)
  expect(high).toBeGreaterThanOrEqual(exponent)
})

/** Samples that hardly differ. */
function steady(values: number[]): number[][] {
  return values.map((value) => [value, value * 1.01, value * 0.99, value])
}
