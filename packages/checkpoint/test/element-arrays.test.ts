import { DTYPE_NAMES } from '@onecopy/safetensors'
import { describe, expect, test } from 'vitest'
import { elementArray, orTooLarge } from '../src/element-arrays.ts'
import { refusal } from './support.ts'

describe('elementArray()', () => {
  const EXPECTED: Readonly<Record<string, string>> = {
    I8: 'Int8Array',
    I16: 'Int16Array',
    U16: 'Uint16Array',
    F16: 'Uint16Array',
    BF16: 'Uint16Array',
    I32: 'Int32Array',
    U32: 'Uint32Array',
    F32: 'Float32Array',
    C64: 'Float32Array',
    F64: 'Float64Array',
    I64: 'BigInt64Array',
    U64: 'BigUint64Array',
  }

  test.each(DTYPE_NAMES)('of %s covers the whole buffer', (dtype) => {
    const buffer = new SharedArrayBuffer(24)
    const array = elementArray(dtype, buffer, 'a')
    expect(array.constructor.name).toBe(EXPECTED[dtype] ?? 'Uint8Array')
    expect(array.buffer).toBe(buffer)
    expect([array.byteOffset, array.byteLength]).toEqual([0, 24])
    expect(elementArray(dtype, new SharedArrayBuffer(0), 'a')).toHaveLength(0)
  })
})

describe('orTooLarge()', () => {
  test('explains an array that cannot be made', async () => {
    const error = await refusal(() => orTooLarge('a', 'A Uint8Array of 2^60 elements', () => new Uint8Array(2 ** 60)))
    expect(error).toMatchObject({ code: 'TENSOR_TOO_LARGE', tensor: 'a' })
    expect(error.cause).toBeInstanceOf(RangeError)
    expect(error.message).toContain('take slices')
  })

  test('lets other errors pass', async () => {
    const other = new TypeError('other')
    const thrower = (): never => {
      throw other
    }
    expect(await refusal(() => orTooLarge('a', 'It', thrower))).toBe(other)
  })
})
