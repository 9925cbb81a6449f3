import { describe, expect, test } from 'vitest'
import {
  formatAge,
  formatBytes,
  formatBytesExactly,
  formatCount,
  formatInteger,
  formatMs,
  formatParameters,
  formatRate,
  parseByteLength,
} from '../src/terminal/units.ts'

describe('units', () => {
  test.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.00 KiB'],
    [10 * 1024, '10.0 KiB'],
    [2 ** 20 - 1, '1.00 MiB'],
    [1.5 * 2 ** 30, '1.50 GiB'],
    [673e9, '626.8 GiB'],
    [2 ** 53, '8.00 PiB'],
    [2 ** 63, '8192.0 PiB'],
  ])('formatBytes(%d) is %s', (byteLength, text) => {
    expect(formatBytes(byteLength)).toBe(text)
  })

  test('formatBytesExactly() adds the bytes where the unit hides them', () => {
    expect(formatBytesExactly(1)).toBe('1 byte')
    expect(formatBytesExactly(512)).toBe('512 bytes')
    expect(formatBytesExactly(2 ** 30)).toBe('1.00 GiB (1,073,741,824 bytes)')
  })

  test('formatInteger() and formatCount() group thousands', () => {
    expect([0, 999, 1000, 1234567].map(formatInteger)).toEqual(['0', '999', '1,000', '1,234,567'])
    expect([formatCount(1, 'tensor'), formatCount(90_427, 'tensor')]).toEqual(['1 tensor', '90,427 tensors'])
  })

  test.each([
    [999, '999'],
    [1000, '1.00 K'],
    [999_900, '1.00 M'],
    [7_241_732_096, '7.24 B'],
    [1_000_000_000_000, '1.00 T'],
  ])('formatParameters(%d) is %s', (count, text) => {
    expect(formatParameters(count)).toBe(text)
  })

  test.each([
    [0.004, '0.00 ms'],
    [9.99, '9.99 ms'],
    [9.996, '10.0 ms'],
    [99.96, '100 ms'],
    [999.6, '1.00 s'],
    [123_456, '123.5 s'],
  ])('formatMs(%d) is %s', (milliseconds, text) => {
    expect(formatMs(milliseconds)).toBe(text)
  })

  test('formatRate() is bytes a second, also for no time at all', () => {
    expect(formatRate(2 ** 30, 500)).toBe('2.00 GiB/s')
    expect(formatRate(0, 0)).toBe('0 B/s')
  })

  test.each([
    ['4096', 4096],
    ['4096B', 4096],
    ['32MiB', 32 * 2 ** 20],
    ['32 mib', 32 * 2 ** 20],
    ['1g', 2 ** 30],
    ['1GB', 1e9],
    ['1.5GiB', 1.5 * 2 ** 30],
    ['', null],
    ['-1MiB', null],
    ['MiB', null],
    ['1XB', null],
    ['1ib', null],
    ['99999999TiB', null],
  ])('parseByteLength(%j) is %j', (text, byteLength) => {
    expect(parseByteLength(text)).toBe(byteLength)
  })
  test.each([
    [0, '0 s'],
    [59_999, '59 s'],
    [60_000, '1 min'],
    [200_000, '3 min 20 s'],
    [7_500_000, '2 h 5 min'],
    [86_400_000, '1 d'],
    [349_200_000, '4 d 1 h'],
  ])('formatAge(%d) is %s', (milliseconds, text) => {
    expect(formatAge(milliseconds)).toBe(text)
  })

  test('formatCount takes another plural', () => {
    expect([1, 3].map((count) => formatCount(count, 'process', 'processes'))).toEqual(['1 process', '3 processes'])
  })
})
