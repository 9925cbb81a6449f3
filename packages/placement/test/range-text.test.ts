import { describe, expect, test } from 'vitest'
import { quotedNames, rangesText } from '../src/range-text.ts'

describe('rangesText()', () => {
  test('writes whole dimensions as a colon, and joined extents with a plus', () => {
    expect(rangesText([8, 4], [[0, 4]])).toBe('[0:4, :]')
    expect(
      rangesText(
        [8, 16],
        [
          [0, 8],
          [
            [0, 4],
            [8, 12],
          ],
        ],
      ),
    ).toBe('[:, 0:4+8:12]')
    expect(rangesText([], [])).toBe('[]')
    expect(rangesText([4], [[2, 2]])).toBe('[2:2]')
  })
})

describe('quotedNames()', () => {
  test('gives eight names at most', () => {
    expect(quotedNames(['a', 'b"'])).toBe('"a", "b\\""')
    const many = Array.from({ length: 1024 }, (_, at) => `w${at}`)
    expect(quotedNames(many)).toBe('"w0", "w1", "w2", "w3", "w4", "w5", "w6", "w7" and 1016 more')
    expect(quotedNames(many.slice(0, 8))).not.toContain('more')
  })
})
