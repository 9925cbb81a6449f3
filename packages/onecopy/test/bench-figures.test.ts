import { describe, expect, test } from 'vitest'
import { fileSystemOf } from '../src/commands/bench/environment.ts'
import { figureText, timesText, withWarning } from '../src/commands/bench/figure-text.ts'
import { figureOf, figureOrNull, quantile, SPREAD_LIMIT } from '../src/commands/bench/figures.ts'

describe('figureOf', () => {
  test('gives median, ends and spread, whatever the order of the samples', () => {
    const samples = [5, 1, 4, 2, 3]
    expect(figureOf('ms', samples)).toMatchObject({ unit: 'ms', median: 3, min: 1, max: 5, spread: 2 / 3, noisy: true })
    expect(samples).toEqual([5, 1, 4, 2, 3])
  })

  test('of one sample the spread is not known, and nothing is said about it', () => {
    expect(figureOf('bytes', [7])).toMatchObject({ median: 7, p99: 7, spread: null, noisy: false })
  })

  test('is noisy above the limit, not at it', () => {
    const at = [100 - SPREAD_LIMIT * 50, 100 - SPREAD_LIMIT * 50, 100, 100 + SPREAD_LIMIT * 50, 100 + SPREAD_LIMIT * 50]
    expect(figureOf('ms', at)).toMatchObject({ spread: SPREAD_LIMIT, noisy: false })
    expect(figureOf('ms', [92, 92, 100, 108, 108]).noisy).toBe(true)
    expect(figureOf('faults', [0, 0, 0])).toMatchObject({ spread: 0, noisy: false })
  })

  test('figureOrNull is null where a trial lacks the figure', () => {
    expect(figureOrNull('ms', [1, null])).toBeNull()
    expect(figureOrNull('ms', [])).toBeNull()
    expect(figureOrNull('ms', [1, 2])?.median).toBe(1.5)
  })

  test('quantile interpolates, and refuses no samples', () => {
    expect(quantile([10, 20], 0.99)).toBeCloseTo(19.9)
    expect(() => quantile([], 0.5)).toThrow(RangeError)
  })
})

describe('figureText', () => {
  test('has unit and warning, and so has what is made of a noisy figure', () => {
    const [calm, noisy] = [figureOf('ms', [10, 10, 10]), figureOf('ms', [5, 10, 15])]
    expect(figureText(calm)).toBe('10.0 ms')
    expect(figureText(noisy)).toBe('10.0 ms ⚠ 50 %')
    expect(figureText(null)).toBe('–')
    expect(timesText(1.5, calm)).toBe('1.50 ×')
    expect(timesText(1.5, calm, noisy)).toBe('1.50 × ⚠')
    expect(timesText(null)).toBe('–')
    expect(withWarning('x', null, undefined)).toBe('x')
  })
})

describe('fileSystemOf', () => {
  const mounts = [
    '20 1 254:0 / / rw - ext4 /dev/vda rw',
    '21 20 0:20 / /proc rw,nosuid shared:5 - proc proc rw',
    '22 20 0:30 / /pro rw - tmpfs tmpfs rw',
  ]

  test('is that of the mount with the longest folder above the file, by whole names', () => {
    expect(fileSystemOf('/proc/self/maps', mounts.join('\n'))).toBe('proc')
    expect(fileSystemOf('/', mounts.join('\n'))).toBe('ext4')
  })

  test('a later mount at the same place covers the earlier', () => {
    expect(fileSystemOf('/', [...mounts, '30 20 0:40 / / rw - overlay overlay rw'].join('\n'))).toBe('overlay')
  })

  test('is unknown where the kernel does not tell', () => {
    expect(fileSystemOf('/', '')).toBe('unknown')
  })
})
