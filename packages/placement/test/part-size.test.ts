import { describe, expect, test } from 'vitest'
import { partSize } from '../src/part-size.ts'

describe('partSize()', () => {
  test('tells what is one run from what is not', () => {
    expect(partSize('BF16', [4, 6], [[1, 3]])).toEqual({ byteLength: 24, inPlace: true })
    expect(
      partSize(
        'BF16',
        [4, 6],
        [
          [0, 4],
          [0, 3],
        ],
      ),
    ).toEqual({ byteLength: 24, inPlace: false })
    expect(
      partSize(
        'BF16',
        [4, 6],
        [
          [
            [0, 1],
            [2, 3],
          ],
        ],
      ),
    ).toEqual({ byteLength: 24, inPlace: false })
    expect(partSize('BF16', [4, 0], [[1, 3]])).toEqual({ byteLength: 0, inPlace: true })
  })

  test('does not lay out the boxes of many extents', () => {
    const extents = Array.from({ length: 3000 }, (_, at) => [at * 2, at * 2 + 1] as const)
    expect(partSize('U8', [6000, 6000, 6000], [extents, extents, extents])).toEqual({
      byteLength: 27e9,
      inPlace: false,
    })
  })

  test('refuses F4 elements that do not fill whole bytes', () => {
    expect(() => partSize('F4', [8], [[1, 3]])).toThrow(
      expect.objectContaining({ code: 'SAFETENSORS_MISALIGNED_SLICE' }),
    )
    const extents = [
      [0, 1],
      [2, 3],
    ] as const
    expect(() => partSize('F4', [8], [extents])).toThrow(
      expect.objectContaining({ code: 'SAFETENSORS_MISALIGNED_SLICE' }),
    )
  })
})
