import { describe, expect, test } from 'vitest'
import { scanHeader } from '../src/scan-header.ts'
import { entry, outcome, thrownBy, utf8 } from './bytes.ts'

const scan = (json: string): ReturnType<typeof scanHeader> => scanHeader(utf8(json))
const A = '"dtype":"U8","shape":[2],"data_offsets":[0,2]'

describe('scanHeader()', () => {
  test('keeps the order of the JSON and exact integers', () => {
    const json = `{${entry('b', 'F32', '[]', '[9007199254740993,18446744073709551615]')},"__metadata__":{"k":"v"},${entry('a', 'U8', '[1,0,9007199254740993]', '[0,0]')}}`
    const { names, tensors, metadata } = scan(json)
    expect(names).toEqual(['b', 'a'])
    expect(tensors).toEqual([
      { dtype: 'F32', shape: [], dataOffsets: [2n ** 53n + 1n, 2n ** 64n - 1n] },
      { dtype: 'U8', shape: [1, 0, 2n ** 53n + 1n], dataOffsets: [0, 0] },
    ])
    expect([...metadata!]).toEqual([['k', 'v']])
  })

  test('gives every tensor a shape of its own', () => {
    const { tensors } = scan(`{${entry('a', 'U8', '[1,2,3]', '[0,6]')},${entry('b', 'U8', '[7]', '[6,13]')}}`)
    expect(tensors.map(({ shape }) => shape)).toEqual([[1, 2, 3], [7]])
  })

  test('takes fields in any order, spelled with escapes, and ignores others', () => {
    const { tensors } = scan(
      '{"a":{"x":[{"dtype":1}],"data_offsets":[0,2],"x":null,"sh\\u0061pe":[2],"":0,"dtype":"\\u00558"}}',
    )
    expect(tensors).toEqual([{ dtype: 'U8', shape: [2], dataOffsets: [0, 2] }])
  })

  test.each([
    `{"a":{${A},"dtype":"U8"}}`,
    `{"a":{${A},"sh\\u0061pe":[2]}}`,
    `{"a":{${A},"data_offsets":[0,2]}}`,
    '{"__metadata__":{},"__metadata__":{}}',
    '{"__metadata__":null,"\\u005f_metadata__":null}',
    '{"__metadata__":{"k":"v","\\u006b":"v"}}',
  ])('refuses the duplicate in %s', (json) => {
    expect(outcome(() => scan(json))).toBe('SAFETENSORS_DUPLICATE_KEY')
  })

  test('names the tensor whose field is missing, and the byte', () => {
    expect(thrownBy(() => scan('{"a":{"dtype":"U8","shape":[2]}}'))).toMatchObject({
      code: 'SAFETENSORS_INVALID_HEADER_JSON',
      message: 'Header is not valid: tensor "a" has no data_offsets at byte 31',
    })
    expect(thrownBy(() => scan('{"a":{"dtype":"u8"}}')).message).toBe(
      'Header is not valid: unknown dtype "u8" at byte 14',
    )
  })
})
