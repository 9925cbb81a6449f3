import { describe, expect, test } from 'vitest'
import { bytesText } from '../src/bytes-text.ts'

describe('bytesText()', () => {
  test.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.00 kB'],
    [999_499, '999 kB'],
    [999_500, '1.00 MB'],
    [13_476_839_424, '13.5 GB'],
    [688_600_000_000, '689 GB'],
    [2 ** 53, '9.01 PB'],
  ])('writes %d as %s', (bytes, text) => {
    expect(bytesText(bytes)).toBe(text)
  })
})
