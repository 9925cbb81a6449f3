import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type FlatHeader, flattenHeader, scanFlatHeader } from '../src/flat-header.ts'
import { MAX_HEADER_BYTES, parseHeader } from '../src/header.ts'
import { type SerializedHeader, serializeHeader } from '../src/serialize.ts'
import { tensorsArbitrary, textArbitrary } from './arbitraries.ts'
import { entry, file, outcome, utf8 } from './bytes.ts'
import { anyChanges, changed } from './changes.ts'

const A = '"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}'
const B = '"b":{"dtype":"BF16","shape":[1,3],"data_offsets":[2,8]}'

/** The names in the columns, decoded. */
function namesOf({ names, nameEnds }: FlatHeader): string[] {
  return Array.from(nameEnds, (end, at) => new TextDecoder().decode(names.subarray(at && nameEnds[at - 1], end)))
}

/** Scans and sees to it that the strict parser gives the same; whether the quick path was taken. */
function agrees(json: Uint8Array, dataByteLength: number): boolean {
  const flat = scanFlatHeader(json, dataByteLength)
  if (flat === null) return false
  const code = outcome(() => parseHeader(json, dataByteLength))
  if (code === 'ok') expect(flat).toEqual(flattenHeader(parseHeader(json, dataByteLength)))
  else {
    expect(code).toBe('SAFETENSORS_DUPLICATE_KEY')
    expect(new Set(namesOf(flat)).size).toBeLessThan(flat.count)
  }
  return true
}

function jsonOf({ bytes }: SerializedHeader): Uint8Array {
  return bytes.subarray(8)
}

const headerArbitrary = fc
  .record({
    tensors: tensorsArbitrary,
    plain: fc.constantFrom(true, true, true, false),
    metadata: fc.option(fc.array(fc.tuple(textArbitrary, textArbitrary), { maxLength: 4 })),
  })
  .map(({ tensors, plain, metadata }) => {
    const named = plain ? tensors.map((tensor, at) => ({ ...tensor, name: `layers.${at}.\u007f !` })) : tensors
    return serializeHeader(named, metadata && new Map(metadata))
  })

describe('scanFlatHeader() gives what parseHeader() gives', () => {
  test('for random headers, and takes those with plain names', () => {
    let taken = 0
    const property = fc.property(headerArbitrary, (header) => {
      const plain = [...header.layout.keys()].every((name) => /^[\x20!#-[\]-\x7f]*$/.test(name))
      expect(agrees(jsonOf(header), header.dataByteLength)).toBe(plain)
      if (plain) taken++
    })
    fc.assert(property, { numRuns: 1000 })
    expect(taken).toBeGreaterThan(400)
  })

  test('for random headers with bytes changed, cut and added', () => {
    let taken = 0
    const property = fc.property(headerArbitrary, anyChanges, fc.constantFrom(0, 0, 0, 1), (header, changes, more) => {
      if (agrees(changed(jsonOf(header), changes), header.dataByteLength + more)) taken++
    })
    fc.assert(property, { numRuns: 8000 })
    expect(taken).toBeGreaterThan(100)
  })

  test('for a header with any one byte replaced, left out or put in, and for all its beginnings', () => {
    const json = utf8(`{"__metadata__":{"é":"\\u00e9"},${A},${B},"":{"dtype":"F4","shape":[0],"data_offsets":[8,8]}}  `)
    const bytes = [0x00, 0x0a, 0x1f, 0x20, ...utf8('"\\,:{}[]-.+0159aeU_'), 0x7f, 0x80, 0xa9, 0xc3, 0xed, 0xff]
    let taken = 0
    for (let at = 0; at <= json.length; at++) {
      const [before, rest] = [json.subarray(0, at), json.subarray(at)]
      const variants = [before, [...before, ...rest.subarray(1)]]
      for (const byte of bytes) variants.push([...before, byte, ...rest], [...before, byte, ...rest.subarray(1)])
      for (const variant of variants) if (agrees(Uint8Array.from(variant), 8)) taken++
    }
    expect(taken).toBeGreaterThan(100)
  })

  test.each<[condition: string, json: string, dataByteLength: number]>([
    ['no tensor', '{}', 0],
    ['no tensor, padded', '{}      ', 0],
    [
      'a dtype whose name goes on from that of the one before',
      `{${entry('a', 'F8_E4M3', '[]', '[0,1]')},${entry('b', 'F8_E4M3FNUZ', '[]', '[1,2]')}}`,
      2,
    ],
    ['metadata that are null', '{"__metadata__":null}', 0],
    ['empty metadata', `{"__metadata__":{},${A}}`, 2],
    ['metadata between tensors, with spaces', `{${A},"__metadata__": {"k" : "v"},${B}}`, 8],
    ['metadata at the end', `{${A},"__metadata__":{"k":"v"}}`, 2],
    ['metadata with escapes and beyond ASCII', `{"__metadata__":{"\\u0041é":"\\n\\ud83d\\ude00"},${A}}`, 2],
    ['a tensor named like metadata but for the end', `{"__metadata__ ":${A.slice(4)}}`, 2],
    ['a name that is empty', `{"":${A.slice(4)}}`, 2],
    ['names that objects have already', `{"__proto__":${A.slice(4)}}`, 2],
    ['a scalar', '{"a":{"dtype":"F64","shape":[],"data_offsets":[0,8]}}', 8],
    [
      'a number of 15 digits',
      '{"a":{"dtype":"U8","shape":[999999999999999],"data_offsets":[0,999999999999999]}}',
      1e15 - 1,
    ],
    [
      'a 0 before a product that would overflow',
      `{${entry('a', 'U8', '[0,999999999999999,999999999999999]', '[0,0]')}}`,
      0,
    ],
    [
      'more dimensions than a short header has room for',
      `{${entry('a', 'U8', `[1${',1'.repeat(5000)}]`, '[0,1]')}}`,
      1,
    ],
  ])('and takes %s', (_, json, dataByteLength) => {
    expect(agrees(utf8(json), dataByteLength)).toBe(true)
  })

  test('from Buffers, the middle of a buffer and shared memory', () => {
    const bytes = file(`{${A}}`, 2)
    const shared = new Uint8Array(new SharedArrayBuffer(bytes.length))
    shared.set(bytes)
    for (const source of [bytes, Buffer.from(bytes), shared]) expect(agrees(source.subarray(8, -2), 2)).toBe(true)
  })
})

describe('scanFlatHeader() leaves to parseHeader()', () => {
  test.each<[condition: string, json: string, dataByteLength: number, code: string]>([
    ['no bytes', '', 0, 'SAFETENSORS_INVALID_HEADER_JSON'],
    ['an object that is not closed', `{${A}`, 2, 'SAFETENSORS_INVALID_HEADER_JSON'],
    ['a comma at the end', `{${A},}`, 2, 'SAFETENSORS_INVALID_HEADER_JSON'],
    ['text behind the header', `{${A}} x`, 2, 'SAFETENSORS_INVALID_HEADER_JSON'],
    ['a NUL behind the header', `{${A}}\0`, 2, 'SAFETENSORS_INVALID_HEADER_JSON'],
    ['a name that is not closed', '{"a', 0, 'SAFETENSORS_INVALID_HEADER_JSON'],
    ['a dtype that is not closed', '{"a":{"dtype":"U8', 0, 'SAFETENSORS_INVALID_HEADER_JSON'],
    ['an unknown dtype', `{${entry('a', 'u8', '[2]', '[0,2]')}}`, 2, 'SAFETENSORS_INVALID_HEADER_JSON'],
    ['a shape that is not closed', '{"a":{"dtype":"U8","shape":[2', 2, 'SAFETENSORS_INVALID_HEADER_JSON'],
    [
      'offsets that are not closed',
      '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2',
      2,
      'SAFETENSORS_INVALID_HEADER_JSON',
    ],
    ['a leading zero', `{${entry('a', 'U8', '[02]', '[0,2]')}}`, 2, 'SAFETENSORS_INVALID_HEADER_JSON'],
    ['a fraction', `{${entry('a', 'U8', '[2.0]', '[0,2]')}}`, 2, 'SAFETENSORS_INVALID_HEADER_JSON'],
    ['minus 0', `{${entry('a', 'U8', '[-0]', '[0,0]')}}`, 0, 'SAFETENSORS_INVALID_HEADER_JSON'],
    ['metadata that are no object', '{"__metadata__":1}', 0, 'SAFETENSORS_INVALID_HEADER_JSON'],
    ['metadata twice', '{"__metadata__":{},"__metadata__":null}', 0, 'SAFETENSORS_DUPLICATE_KEY'],
    ['null as metadata twice', '{"__metadata__":null,"__metadata__":null}', 0, 'SAFETENSORS_DUPLICATE_KEY'],
    ['a key of metadata twice', '{"__metadata__":{"k":"","\\u006b":""}}', 0, 'SAFETENSORS_DUPLICATE_KEY'],
    ['a hole', `{${entry('a', 'U8', '[2]', '[1,3]')}}`, 3, 'SAFETENSORS_INVALID_OFFSET'],
    ['offsets that go back', `{${A},${entry('b', 'U8', '[0]', '[2,0]')}}`, 0, 'SAFETENSORS_INVALID_OFFSET'],
    ['half a byte', `{${entry('a', 'F4', '[3]', '[0,1]')}}`, 1, 'SAFETENSORS_MISALIGNED_SLICE'],
    [
      'an overflow',
      `{${entry('a', 'U8', '[18446744073709551615,2,0]', '[0,0]')}}`,
      0,
      'SAFETENSORS_VALIDATION_OVERFLOW',
    ],
    [
      'another length than the shape says',
      `{${entry('a', 'U8', '[3]', '[0,2]')}}`,
      2,
      'SAFETENSORS_TENSOR_INVALID_INFO',
    ],
    ['more data than there is', `{${A}}`, 1, 'SAFETENSORS_METADATA_INCOMPLETE_BUFFER'],
    ['less data than there is', `{${A}}`, 3, 'SAFETENSORS_METADATA_INCOMPLETE_BUFFER'],
    ['spaces within a tensor', `{${A.replace(':[', ': [')}}`, 2, 'ok'],
    ['a line feed as padding', `{${A}}\n`, 2, 'ok'],
    ['fields in another order', '{"a":{"shape":[2],"dtype":"U8","data_offsets":[0,2]}}', 2, 'ok'],
    ['a further field', `{${A.replace('}', ',"x":1}')}}`, 2, 'ok'],
    ['tensors in another order than their data', `{${B},${A}}`, 8, 'ok'],
    ['an escape in a name', `{"\\u0061":${A.slice(4)}}`, 2, 'ok'],
    ['an escape in a dtype', `{${A.replace('U8', '\\u0055' + '8')}}`, 2, 'ok'],
    ['a name beyond ASCII', `{"é":${A.slice(4)}}`, 2, 'ok'],
    ['a number of 16 digits', `{${entry('a', 'U8', '[0,9007199254740993]', '[0,0]')}}`, 0, 'ok'],
    ['a product above 2^53 that comes to 0', `{${entry('a', 'U8', '[100000000,100000000,0]', '[0,0]')}}`, 0, 'ok'],
  ])('%s', (_, json, dataByteLength, code) => {
    expect(scanFlatHeader(utf8(json), dataByteLength)).toBeNull()
    expect(outcome(() => parseHeader(utf8(json), dataByteLength))).toBe(code)
  })

  test.each([
    ['a name', `{"a\xff":${A.slice(4)}}`],
    ['metadata', `{"__metadata__":{"k":"\xff"},${A}}`],
    ['escaped metadata', `{"__metadata__":{"k":"\\n\xc3"},${A}}`],
  ])('bytes in %s that are not UTF-8', (_, latin1) => {
    const json = Uint8Array.from(Buffer.from(latin1, 'latin1'))
    expect(scanFlatHeader(json, 2)).toBeNull()
    expect(outcome(() => parseHeader(json, 2))).toBe('SAFETENSORS_INVALID_HEADER_UTF8')
  })

  test('a header above the limit', () => {
    const json = new Uint8Array(MAX_HEADER_BYTES + 1).fill(0x20)
    json.set(utf8('{}'))
    expect(scanFlatHeader(json.subarray(0, -1), 0)?.count).toBe(0)
    expect(scanFlatHeader(json, 0)).toBeNull()
  })
})

test('scanFlatHeader() lets a name pass that stands twice, with all its columns', () => {
  const flat = scanFlatHeader(utf8(`{${A},"a"${B.slice(3)}}`), 8)!
  expect(namesOf(flat)).toEqual(['a', 'a'])
  expect([...flat.ends]).toEqual([2, 8])
})

test('scanFlatHeader() takes headers as serializers write them', () => {
  const names = Array.from({ length: 300 }, (_, at) => `model.layers.${at}.mlp.experts.7.down_proj.weight`)
  const specs = names.map((name, at) => ({
    name,
    dtype: at % 3 === 0 ? ('F32' as const) : ('BF16' as const),
    shape: [at, 64],
  }))
  // What serde_json writes of the reference's TensorInfo, padded to a multiple of 8.
  let cursor = 0
  const serde = specs.map(({ name, shape }) => {
    const begin = cursor
    cursor += shape[0]! * 128
    return `${JSON.stringify(name)}:${JSON.stringify({ dtype: 'F16', shape, data_offsets: [begin, cursor] })}`
  })
  const padded = (text: string): Uint8Array => utf8(text.padEnd(Math.ceil(text.length / 8) * 8))
  const own = [null, { format: 'pt', note: 'größer "als"' }].map((metadata) => serializeHeader(specs, metadata))
  const headers: [json: Uint8Array, dataByteLength: number][] = [
    ...own.map((header): [Uint8Array, number] => [jsonOf(header), header.dataByteLength]),
    [padded(`{${serde.join(',')}}`), cursor],
    [padded(`{"__metadata__":{"format":"pt"},${serde.join(',')}}`), cursor],
  ]
  expect(headers.filter(([json, dataByteLength]) => agrees(json, dataByteLength))).toHaveLength(headers.length)
})

test('flattenHeader() lays names beyond ASCII and dimensions end to end', () => {
  const json = utf8(`{${entry('é', 'U8', '[]', '[0,1]')},${entry('b', 'U64', '[1,2]', '[1,17]')}}`)
  const flat = flattenHeader(parseHeader(json, 17))
  expect(namesOf(flat)).toEqual(['é', 'b'])
  expect([flat.nameEnds, flat.shapeEnds, flat.shapes].map((column) => [...column])).toEqual([
    [2, 3],
    [0, 2],
    [1, 2],
  ])
})
