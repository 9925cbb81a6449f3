import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tries } from '../../../test/many-inputs.ts'
import type { SafetensorsErrorCode } from '../src/errors.ts'
import { MAX_HEADER_BYTES, parseHeader, parseSafetensors, readHeaderLength } from '../src/header.ts'
import { serialize } from '../src/serialize.ts'
import { tensorsArbitrary } from './arbitraries.ts'
import { entry, file, outcome, utf8 } from './bytes.ts'

const A = entry('a', 'U8', '[2]', '[0,2]')
const MAX = '18446744073709551615'

function parsed(header: string | Uint8Array, data = 0): SafetensorsErrorCode | 'ok' {
  return outcome(() => parseSafetensors(file(header, data)))
}

function prefix(length: bigint): Uint8Array {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, length, true)
  return bytes
}

describe('readHeaderLength()', () => {
  test('reads a little-endian length', () => {
    expect(readHeaderLength(Uint8Array.from([0x02, 0x01, 0, 0, 0, 0, 0, 0]), 1000)).toBe(0x102)
    expect(readHeaderLength(prefix(100_000_000n), 100_000_008)).toBe(MAX_HEADER_BYTES)
  })

  test.each([0, 1, 7])('refuses a file of %i bytes', (length) => {
    expect(outcome(() => readHeaderLength(new Uint8Array(length), length))).toBe('SAFETENSORS_HEADER_TOO_SMALL')
  })

  test.each([100_000_001n, 2n ** 32n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n])(
    'refuses a header of %s bytes before it looks at the size of the file',
    (length) => {
      expect(outcome(() => readHeaderLength(prefix(length), 8))).toBe('SAFETENSORS_HEADER_TOO_LARGE')
    },
  )

  test('refuses a header that ends beyond the file', () => {
    expect(outcome(() => readHeaderLength(prefix(2n), 10))).toBe('ok')
    expect(outcome(() => readHeaderLength(prefix(3n), 10))).toBe('SAFETENSORS_INVALID_HEADER_LENGTH')
    expect(outcome(() => readHeaderLength(prefix(100_000_000n), 100_000_007))).toBe('SAFETENSORS_INVALID_HEADER_LENGTH')
  })

  test('reads from the middle of a larger buffer', () => {
    const bytes = new Uint8Array(32).fill(0xff)
    bytes.set(prefix(5n), 3)
    expect(readHeaderLength(bytes.subarray(3, 11), 13)).toBe(5)
    expect(readHeaderLength(Buffer.from(bytes.buffer, 3), 13)).toBe(5)
  })

  test('refuses wrong use with a RangeError', () => {
    expect(() => readHeaderLength(prefix(0n), -1)).toThrow(RangeError)
    expect(() => parseHeader(utf8('{}'), Number.NaN)).toThrow(RangeError)
  })
})

describe('parseSafetensors() on JSON', () => {
  test.each<[string, string | Uint8Array, number]>([
    ['an empty object', '{}', 0],
    ['whitespace before and after', ` \t\r\n{${A}}\n\r\t `, 2],
    ['whitespace everywhere', '{ "a" : { "dtype" : "U8" , "shape" : [ 2 ] , "data_offsets" : [ 0 , 2 ] } }', 2],
    ['an unknown field', `{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"x":{"y":[1.5e3,null,"z"]}}}`, 2],
    ['__metadata__ of null', '{"__metadata__":null}', 0],
    ['an empty __metadata__', '{"__metadata__":{}}', 0],
    ['an escaped NUL', '{"\\u0000":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}', 2],
    ['a surrogate pair', '{"\\ud83d\\ude00":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}', 2],
    ['DEL in a name', `{${entry('\u007f', 'U8', '[2]', '[0,2]')}}`, 2],
    ['nesting up to the limit', `{"a":{"x":${'['.repeat(125)}${']'.repeat(125)},${A.slice(5)}}`, 2],
  ])('accepts %s', (_, header, data) => {
    expect(parsed(header, data)).toBe('ok')
  })

  const tensor = (fields: string): string => `{"a":{${fields}}}`
  test.each<[string, string]>([
    ['nothing', ''],
    ['whitespace only', '   '],
    ['a trailing NUL', `{${A}}\u0000`],
    ['trailing text', `{${A}}x`],
    ['a second document', '{}{}'],
    ['a byte order mark', `\ufeff{${A}}`],
    ['an array', '[]'],
    ['null', 'null'],
    ['a string', '"a"'],
    ['a number', '1'],
    ['an unclosed object', '{'],
    ['a trailing comma', `{${A},}`],
    ['a comment', `{/* */${A}}`],
    ['a form feed', `{\f${A}}`],
    ['a tensor of null', '{"a":null}'],
    ['a tensor as a number', '{"a":1}'],
    ['a tensor as an array', '{"a":["U8",[2],[0,2]]}'],
    ['an empty tensor', '{"a":{}}'],
    ['no dtype', tensor('"shape":[2],"data_offsets":[0,2]')],
    ['no shape', tensor('"dtype":"U8","data_offsets":[0,2]')],
    ['no data_offsets', tensor('"dtype":"U8","shape":[2]')],
    ['an unknown dtype', tensor('"dtype":"U128","shape":[2],"data_offsets":[0,2]')],
    ['a dtype in lower case', tensor('"dtype":"u8","shape":[2],"data_offsets":[0,2]')],
    ['a dtype as a map', tensor('"dtype":{"U8":null},"shape":[2],"data_offsets":[0,2]')],
    ['a dtype of null', tensor('"dtype":null,"shape":[2],"data_offsets":[0,2]')],
    ['no offsets', tensor('"dtype":"U8","shape":[2],"data_offsets":[]')],
    ['one offset', tensor('"dtype":"U8","shape":[2],"data_offsets":[2]')],
    ['three offsets', tensor('"dtype":"U8","shape":[2],"data_offsets":[0,2,2]')],
    ['offsets as an object', tensor('"dtype":"U8","shape":[2],"data_offsets":{"0":0,"1":2}')],
    ['a shape that is a number', tensor('"dtype":"U8","shape":2,"data_offsets":[0,2]')],
    ['a shape in a shape', tensor('"dtype":"U8","shape":[[2]],"data_offsets":[0,2]')],
    ['a lone surrogate in a name', '{"\\ud800":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'],
    ['a lone surrogate in an ignored field', `{"a":{"x":"\\udc00",${A.slice(5)}}`],
    ['a raw control character in a name', '{"a\n":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'],
    ['NaN in an ignored field', `{"a":{"x":NaN,${A.slice(5)}}`],
    ['Infinity in an ignored field', `{"a":{"x":-Infinity,${A.slice(5)}}`],
    ['1e999 in an ignored field', `{"a":{"x":1e999,${A.slice(5)}}`],
    ['nesting beyond the limit', `{"a":{"x":${'['.repeat(126)}${']'.repeat(126)},${A.slice(5)}}`],
    ['nesting without an end', `{"a":{"x":${'['.repeat(100_000)}`],
    ['__metadata__ as a number', '{"__metadata__":1}'],
    ['__metadata__ as a string', '{"__metadata__":"a"}'],
    ['__metadata__ as an array', '{"__metadata__":[]}'],
    ['a metadata value of null', '{"__metadata__":{"a":null}}'],
    ['a metadata value that is a number', '{"__metadata__":{"a":1}}'],
    ['a metadata value that is an object', '{"__metadata__":{"a":{}}}'],
    ['a tensor under __metadata__', `{${entry('__metadata__', 'U8', '[2]', '[0,2]')}}`],
    ...['1.0', '1e0', '-0', '01', '-1', '"1"', '18446744073709551616', '0x1', 'null', 'true'].flatMap(
      (number): [string, string][] => [
        [`the dimension ${number}`, tensor(`"dtype":"U8","shape":[${number}],"data_offsets":[0,1]`)],
        [`the begin ${number}`, tensor(`"dtype":"U8","shape":[1],"data_offsets":[${number},1]`)],
        [`the end ${number}`, tensor(`"dtype":"U8","shape":[1],"data_offsets":[0,${number}]`)],
      ],
    ),
  ])('refuses %s', (_, header) => {
    expect(parsed(header, 2)).toBe('SAFETENSORS_INVALID_HEADER_JSON')
  })

  test.each<[string, string]>([
    ['tensor at another place', `{${A},${entry('a', 'U8', '[2]', '[2,4]')}}`],
    ['tensor at the same place', `{${A},${A}}`],
    ['tensor through an escape', `{${A},"\\u0061":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`],
    ['__metadata__', `{"__metadata__":{},"__metadata__":{},${A}}`],
    ['__metadata__ that is null', `{"__metadata__":null,${A},"__metadata__":null}`],
    ['dtype', `{"a":{"dtype":"U8",${A.slice(5)}}`],
    ['shape', `{"a":{"shape":[2],${A.slice(5)}}`],
    ['data_offsets', `{"a":{"data_offsets":[0,2],${A.slice(5)}}`],
    ['key in __metadata__', `{"__metadata__":{"k":"v","k":"v"},${A}}`],
    ['key in __metadata__ through an escape', `{"__metadata__":{"k":"v","\\u006b":"w"},${A}}`],
  ])('refuses a duplicate %s', (_, header) => {
    expect(parsed(header, 2)).toBe('SAFETENSORS_DUPLICATE_KEY')
  })

  test('ignores a duplicate of a field that it ignores', () => {
    expect(parsed(`{"a":{"x":1,"x":2,${A.slice(5)}}`, 2)).toBe('ok')
  })

  test('refuses bytes that are not UTF-8 before it looks at the JSON', () => {
    for (const bytes of [[0xff], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xe2, 0x82]]) {
      expect(parsed(Uint8Array.from([...utf8('{"'), ...bytes, ...utf8('":{}}')]))).toBe(
        'SAFETENSORS_INVALID_HEADER_UTF8',
      )
      expect(parsed(Uint8Array.from([...utf8('[not JSON '), ...bytes]))).toBe('SAFETENSORS_INVALID_HEADER_UTF8')
    }
  })
})

describe('parseSafetensors() on the layout', () => {
  const two = (a: string, b: string): string => `{${entry('a', 'U8', '[2]', a)},${entry('b', 'U8', '[2]', b)}}`
  test.each<[string, string, number, SafetensorsErrorCode | 'ok']>([
    ['no tensors and no bytes', '{}', 0, 'ok'],
    ['no tensors but bytes', '{}', 1, 'SAFETENSORS_METADATA_INCOMPLETE_BUFFER'],
    ['keys in another order than the data', two('[2,4]', '[0,2]'), 4, 'ok'],
    ['a hole at the beginning', two('[1,3]', '[3,5]'), 5, 'SAFETENSORS_INVALID_OFFSET'],
    ['a hole', two('[0,2]', '[3,5]'), 5, 'SAFETENSORS_INVALID_OFFSET'],
    ['an overlap', two('[0,2]', '[1,3]'), 3, 'SAFETENSORS_INVALID_OFFSET'],
    ['an alias', two('[0,2]', '[0,2]'), 2, 'SAFETENSORS_INVALID_OFFSET'],
    ['reversed offsets', `{${entry('a', 'U8', '[2]', '[2,0]')}}`, 2, 'SAFETENSORS_INVALID_OFFSET'],
    ['reversed offsets at the cursor', two('[0,2]', '[2,0]'), 2, 'SAFETENSORS_INVALID_OFFSET'],
    ['an offset of 2^64 - 1', `{${entry('a', 'U8', '[2]', `[0,${MAX}]`)}}`, 2, 'SAFETENSORS_TENSOR_INVALID_INFO'],
    ['too few bytes for the shape', `{${entry('a', 'F32', '[2]', '[0,4]')}}`, 4, 'SAFETENSORS_TENSOR_INVALID_INFO'],
    ['a scalar', `{${entry('a', 'F32', '[]', '[0,4]')}}`, 4, 'ok'],
    ['a scalar without bytes', `{${entry('a', 'F32', '[]', '[0,0]')}}`, 0, 'SAFETENSORS_TENSOR_INVALID_INFO'],
    ['a zero-size tensor', `{${entry('a', 'F32', '[2,0]', '[0,0]')}}`, 0, 'ok'],
    [
      'a zero-size tensor away from the cursor',
      `{${A},${entry('z', 'U8', '[0]', '[1,1]')}}`,
      2,
      'SAFETENSORS_INVALID_OFFSET',
    ],
    ['a zero-size tensor at the end', `{${entry('z', 'U8', '[0]', '[2,2]')},${A}}`, 2, 'ok'],
    [
      'an overflow before a zero',
      `{${entry('a', 'U8', `[${MAX},2,0]`, '[0,0]')}}`,
      0,
      'SAFETENSORS_VALIDATION_OVERFLOW',
    ],
    ['a zero before an overflow', `{${entry('a', 'U8', `[0,${MAX},2]`, '[0,0]')}}`, 0, 'ok'],
    ['elements that overflow', `{${entry('a', 'U8', `[${MAX},2]`, '[0,2]')}}`, 2, 'SAFETENSORS_VALIDATION_OVERFLOW'],
    ['bits that overflow', `{${entry('a', 'U8', `[${MAX}]`, '[0,2]')}}`, 2, 'SAFETENSORS_VALIDATION_OVERFLOW'],
    [
      'a shape that a double would round to the right size',
      `{${entry('a', 'U8', '[9007199254740993]', '[0,9007199254740992]')}}`,
      0,
      'SAFETENSORS_TENSOR_INVALID_INFO',
    ],
    [
      'a size that wraps to the right one in u64',
      `{${entry('a', 'U8', '[4294967296,4294967296]', '[0,0]')}}`,
      0,
      'SAFETENSORS_VALIDATION_OVERFLOW',
    ],
    ['an even count of F4', `{${entry('a', 'F4', '[3,2]', '[0,3]')}}`, 3, 'ok'],
    ['an odd count of F4', `{${entry('a', 'F4', '[3]', '[0,2]')}}`, 2, 'SAFETENSORS_MISALIGNED_SLICE'],
    ['four of F6', `{${entry('a', 'F6_E2M3', '[4]', '[0,3]')}}`, 3, 'ok'],
    ['two of F6', `{${entry('a', 'F6_E3M2', '[2]', '[0,2]')}}`, 2, 'SAFETENSORS_MISALIGNED_SLICE'],
    ['a truncated file', `{${A}}`, 1, 'SAFETENSORS_METADATA_INCOMPLETE_BUFFER'],
    ['trailing bytes', `{${A}}`, 3, 'SAFETENSORS_METADATA_INCOMPLETE_BUFFER'],
    [
      'a fault of the layout before wrong JSON',
      `{${entry('a', 'U8', '[9]', '[5,1]')},"b":1}`,
      2,
      'SAFETENSORS_INVALID_HEADER_JSON',
    ],
  ])('judges %s', (_, header, data, expected) => {
    expect(parsed(header, data)).toBe(expected)
  })

  test('takes any name', () => {
    const names = ['', '\u0000', '/', '..', '__proto__', 'constructor', '10', '9', 'é', '😀', 'x'.repeat(100_000)]
    const header = `{${names.map((name, i) => entry(name, 'U8', '[1]', `[${i},${i + 1}]`)).join(',')}}`
    const { tensors } = parseSafetensors(file(header, names.length))
    expect([...tensors.keys()]).toEqual(names)
    expect(tensors.get('__proto__')).toEqual({ dtype: 'U8', shape: [1], dataOffsets: [4, 5] })
  })

  test('gives a dimension above 2^53 as the nearest double', () => {
    const { tensors } = parseSafetensors(file(`{${entry('a', 'U8', `[0,${MAX},9007199254740993]`, '[0,0]')}}`))
    expect(tensors.get('a')).toEqual({ dtype: 'U8', shape: [0, 2 ** 64, 2 ** 53], dataOffsets: [0, 0] })
  })

  test('takes a shape of many dimensions', () => {
    const shape = new Array<number>(100_000).fill(1)
    const { tensors } = parseSafetensors(file(`{${entry('a', 'U8', JSON.stringify(shape), '[0,1]')}}`, 1))
    expect(tensors.get('a')!.shape).toEqual(shape)
  })

  test('gives metadata as a map, null where there is none', () => {
    const { metadata } = parseSafetensors(file('{"__metadata__":{"format":"pt","__proto__":"","\\u0000":"\\n"}}'))
    expect([...metadata!]).toEqual([
      ['format', 'pt'],
      ['__proto__', ''],
      ['\u0000', '\n'],
    ])
    expect(parseSafetensors(file('{}')).metadata).toBeNull()
    expect(parseSafetensors(file('{"__metadata__":null}')).metadata).toBeNull()
    expect(parseSafetensors(file('{"__metadata__":{}}')).metadata).toEqual(new Map())
  })
})

describe('parseSafetensors() on any bytes', () => {
  test('reads from Buffers, shared memory and the middle of a buffer', () => {
    const bytes = file(`{${A}}`, 2)
    const shared = new Uint8Array(new SharedArrayBuffer(bytes.length + 3), 3)
    shared.set(bytes)
    for (const source of [bytes, Buffer.from(bytes), shared]) {
      expect([...parseSafetensors(source).tensors.keys()]).toEqual(['a'])
    }
  })

  test('returns or throws a SafetensorsError, whatever the bytes', () => {
    const pieces = fc.constantFrom(
      ...`{}[]",:\\u0 12345678901234567890 e.-`,
      '"a"',
      '"dtype":"U8"',
      '"shape":[2]',
      '"data_offsets":[0,2]',
      '"__metadata__":',
    )
    const soup = fc.array(pieces, { maxLength: 20 }).map((list) => file(`{"a":{${list.join('')}`, 2))
    const any = fc.uint8Array({ maxLength: 64 })
    const anyHeader = fc.tuple(fc.uint8Array({ maxLength: 64 }), fc.nat(8)).map(([json, data]) => file(json, data))
    fc.assert(
      fc.property(fc.oneof(soup, any, anyHeader), (bytes) => void outcome(() => parseSafetensors(bytes))),
      tries(500),
    )
  })

  test('returns or throws a SafetensorsError for a valid file with a few bytes changed, cut or added', () => {
    const change = fc.tuple(fc.nat(), fc.nat(255), fc.constantFrom('set', 'cut', 'insert'))
    fc.assert(
      fc.property(tensorsArbitrary, fc.array(change, { minLength: 1, maxLength: 4 }), (tensors, changes) => {
        let bytes: Uint8Array = serialize(tensors, { format: 'pt' })
        for (const [at, byte, how] of changes) {
          const place = at % bytes.length
          const inserted = how === 'cut' ? [] : [byte]
          const rest = bytes.subarray(how === 'insert' ? place : place + 1)
          bytes = Uint8Array.from([...bytes.subarray(0, place), ...inserted, ...rest])
        }
        outcome(() => parseSafetensors(bytes))
      }),
      tries(300),
    )
  })

  test('accepts no file but one whose tensors fill it', () => {
    const dims = fc.array(fc.nat(3), { maxLength: 3 })
    const tensor = fc.record({
      dtype: fc.constantFrom('U8', 'F4', 'F16'),
      shape: dims,
      begin: fc.nat(12),
      size: fc.nat(8),
    })
    fc.assert(
      fc.property(fc.array(tensor, { maxLength: 4 }), fc.nat(16), (list, data) => {
        const header = list.map((t, i) =>
          entry(`${i}`, t.dtype, JSON.stringify(t.shape), `[${t.begin},${t.begin + t.size}]`),
        )
        const bytes = file(`{${header.join(',')}}`, data)
        if (outcome(() => parseSafetensors(bytes)) !== 'ok') return
        let cursor = 0
        for (const { dataOffsets } of parseSafetensors(bytes).tensors.values()) {
          expect(dataOffsets[0]).toBe(cursor)
          cursor = dataOffsets[1]
        }
        expect(cursor).toBe(data)
      }),
      tries(100),
    )
  })
})
