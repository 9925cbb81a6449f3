import { describe, expect, test } from 'vitest'
import { exactByteLength, MAX_UINT64, tensorByteLength } from '../src/byte-length.ts'
import { thrownBy } from './bytes.ts'

describe('exactByteLength()', () => {
  test('multiplies from left to right in u64', () => {
    expect(thrownBy(() => exactByteLength('U8', [MAX_UINT64, 2, 0], 'a'))).toMatchObject({
      code: 'SAFETENSORS_VALIDATION_OVERFLOW',
      tensor: 'a',
    })
    expect(exactByteLength('U8', [0, MAX_UINT64, 2])).toBe(0)
    expect(exactByteLength('F32', [])).toBe(4)
  })

  test('refuses bits above a u64 though the elements fit', () => {
    expect(exactByteLength('U8', [2n ** 61n - 1n])).toBe(2n ** 61n - 1n)
    expect(thrownBy(() => exactByteLength('U8', [2n ** 61n])).code).toBe('SAFETENSORS_VALIDATION_OVERFLOW')
    expect(thrownBy(() => exactByteLength('U64', [2n ** 58n])).code).toBe('SAFETENSORS_VALIDATION_OVERFLOW')
    expect(exactByteLength('F4', [2n ** 62n - 2n])).toBe(2n ** 61n - 1n)
  })

  test('is exact about 2^53, and gives numbers below it', () => {
    expect(exactByteLength('U8', [2n ** 53n + 1n])).toBe(2n ** 53n + 1n)
    expect(exactByteLength('F4', [2n ** 53n])).toBe(2 ** 52)
    expect(exactByteLength('U8', [94906267, 94906267])).toBe(94906267n * 94906267n)
  })

  test('refuses sub-byte elements that do not fill whole bytes', () => {
    for (const [dtype, count] of [
      ['F4', 3],
      ['F6_E2M3', 2],
      ['F6_E3M2', 6],
    ] as const) {
      expect(thrownBy(() => exactByteLength(dtype, [count])).code).toBe('SAFETENSORS_MISALIGNED_SLICE')
    }
    expect(exactByteLength('F6_E2M3', [4])).toBe(3)
  })

  test('names the tensor and prints exact integers', () => {
    expect(thrownBy(() => exactByteLength('U8', [2n ** 53n + 1n, 2 ** 52], 'a'))).toMatchObject({
      tensor: 'a',
      message:
        'Tensor "a": The size of U8 [9007199254740993, 4503599627370496] overflows: 9007199254740993 × 4503599627370496 is ' +
        '40564819207303345351494129942528, but elements and bits must each be at most 18446744073709551615',
      details: { shape: [2n ** 53n + 1n, 2 ** 52], product: (2n ** 53n + 1n) * 2n ** 52n },
    })
    expect(thrownBy(() => exactByteLength('F4', [2n ** 61n + 1n], 'a'))).toMatchObject({
      tensor: 'a',
      message:
        'Tensor "a": 2305843009213693953 elements of F4 take 9223372036854775812 bits, which must be whole bytes',
      details: { shape: [2n ** 61n + 1n], bits: 9223372036854775812n },
    })
  })

  test('shows only the beginning of a shape with many dimensions', () => {
    const { message } = thrownBy(() => exactByteLength('U8', new Array<number>(100_000).fill(1000)))
    expect(message.length).toBeLessThan(300)
  })
})

describe('tensorByteLength()', () => {
  test('gives the size in bytes', () => {
    expect(tensorByteLength('BF16', [2, 3])).toBe(12)
    expect(tensorByteLength('F4', [2, 3])).toBe(3)
    expect(tensorByteLength('F64', [0, 7])).toBe(0)
  })

  test.each([-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])('refuses the dimension %s', (dimension) => {
    expect(thrownBy(() => tensorByteLength('U8', [1, dimension], 'a'))).toMatchObject({
      code: 'SAFETENSORS_TENSOR_INVALID_INFO',
      tensor: 'a',
      details: { axis: 1 },
    })
  })

  test('refuses a size above 2^53 - 1 bytes', () => {
    expect(thrownBy(() => tensorByteLength('U8', [2 ** 30, 2 ** 30])).code).toBe('SAFETENSORS_VALIDATION_OVERFLOW')
  })
})
