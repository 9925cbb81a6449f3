import { expect, it } from 'vitest'
import { NOISE_LIMIT, pairedRatio, quantile, seededRandom, summarize } from '../harness/statistics.mjs'

it('quantile() interpolates between the two samples around it', () => {
  expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5)
  expect(quantile([1, 2, 3], 0)).toBe(1)
  expect(quantile([1, 2, 3], 1)).toBe(3)
  expect(() => quantile([], 0.5)).toThrow(RangeError)
})

it('summarize() calls a figure noisy when its spread is above the limit', () => {
  const steady = summarize([100, 101, 102, 103, 104])
  expect(steady).toMatchObject({ median: 102, min: 100, max: 104, noisy: false })
  const restless = summarize([100, 100 * (1 + NOISE_LIMIT), 100 * (1 + 3 * NOISE_LIMIT)])
  expect(restless.noisy).toBe(true)
  expect(summarize([0, 0, 0])).toMatchObject({ median: 0, spread: 0, noisy: false })
})

it('pairedRatio() is not moved by rounds in which everything was slow', () => {
  const rival = [10, 10.1, 50, 9.9, 10, 31]
  const { ratio, low, high } = pairedRatio(
    rival.map((ms) => 2 * ms),
    rival,
  )
  for (const value of [ratio, low, high]) expect(value).toBeCloseTo(2, 10)
  expect(() => pairedRatio([1], rival)).toThrow('both must be of the same rounds')
})

it('pairedRatio() gives an interval that holds the ratio and is the same each time', () => {
  const random = seededRandom(7)
  const samples = Array.from({ length: 30 }, () => 1 + random())
  const others = samples.map(() => 1 + random())
  const { ratio, low, high } = pairedRatio(samples, others)
  expect(low).toBeLessThan(ratio)
  expect(high).toBeGreaterThan(ratio)
  expect(pairedRatio(samples, others)).toEqual({ ratio, low, high })
})
