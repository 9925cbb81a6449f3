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

  test.each([
    ['{"a":{"dtype":"U8","shape":[2]}}', 'data_offsets is missing at byte 31'],
    ['{"a":{"dtype":"u8"}}', 'unknown dtype "u8" at byte 14'],
    ['{"a":{"shape":[2.0]}}', 'expected an integer from 0 to 2^64 - 1 (a dimension), found 2 at byte 15'],
    [
      '{"a":{"shape":[18446744073709551616]}}',
      'expected an integer from 0 to 2^64 - 1 (a dimension), found 18446744073709551616 at byte 15',
    ],
    [
      `{"a":{"shape":[${'7'.repeat(50)}]}}`,
      `expected an integer from 0 to 2^64 - 1 (a dimension), found ${'7'.repeat(40)}… (50 digits) at byte 15`,
    ],
    ['{"a":{"data_offsets":[0]}}', 'data_offsets must be two integers at byte 24'],
    ['{"a":[]}', 'expected an object (a tensor), found [ at byte 5'],
    ['{"a":{"x":01}}', 'expected no leading zero, found 0 at byte 10'],
  ])('names the tensor and the byte in %s', (json, what) => {
    expect(thrownBy(() => scan(`{"b":{${A}},${json.slice(1)}`))).toMatchObject({
      code: 'SAFETENSORS_INVALID_HEADER_JSON',
      tensor: 'a',
      message: `Header is not valid: ${what.replace(/\d+$/, (byte) => String(Number(byte) + 7 + A.length))}, in tensor "a"`,
    })
  })

  test.each([`{"a":{${A}}`, '{"__metadata__":{"k":1}}', '[]', `{"a":{${A}}"b":`])(
    'names no tensor outside of one: %s',
    (json) => {
      expect(thrownBy(() => scan(json))).toMatchObject({ code: 'SAFETENSORS_INVALID_HEADER_JSON', tensor: undefined })
    },
  )
})
