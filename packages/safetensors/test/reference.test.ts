import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseSafetensors } from '../src/header.ts'
import { serialize } from '../src/serialize.ts'
import { parseShardIndex, serializeShardIndex } from '../src/shard-index.ts'
import { tensorsArbitrary } from './arbitraries.ts'
import { entry, file, outcome, utf8 } from './bytes.ts'
import { pythonMissing, runPython } from './python.ts'

const A = entry('a', 'U8', '[2]', '[0,2]')
const MAX = '18446744073709551615'
const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth)
/** A header with one valid tensor of two bytes and `json` in a field that readers ignore. */
const ignored = (json: string): string => `{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"x":${json}}}`
const one = (dtype: string, shape: string, offsets: string): string => `{${entry('a', dtype, shape, offsets)}}`
const invalidUtf8 = (...bytes: number[]): Uint8Array => Uint8Array.from([...utf8('{"'), ...bytes, ...utf8(`":0,${A}}`)])

/** Headers that both must judge alike; each stands before two bytes of data, or as many as the number says. */
const HEADERS: [name: string, header: string | Uint8Array, dataByteLength?: number][] = [
  ['plain', `{${A}}`],
  ['empty header', '', 0],
  ['empty object', '{}', 0],
  ['empty object before data', '{}'],
  ['whitespace around', ` \n\t\r{${A}}\r\t\n `],
  ['trailing NUL', `{${A}}\u0000`],
  ['trailing text', `{${A}}a`],
  ['second document', `{${A}}{}`],
  ['byte order mark', `\ufeff{${A}}`],
  ['array', '[]', 0],
  ['null', 'null', 0],
  ['form feed', `\f{${A}}`],
  ['trailing comma', `{${A},}`],
  ['comment', `{${A}/**/}`],
  ['overlong UTF-8', invalidUtf8(0xc0, 0xaf)],
  ['surrogate in UTF-8', invalidUtf8(0xed, 0xa0, 0x80)],
  ['0xff', invalidUtf8(0xff)],
  ['duplicate at another place', `{${A},${entry('a', 'U8', '[2]', '[2,4]')}}`, 4],
  ['duplicate __metadata__', `{"__metadata__":{},"__metadata__":{},${A}}`],
  ['duplicate dtype', `{"a":{"dtype":"U8",${A.slice(5)}}`],
  ['duplicate shape', `{"a":{"shape":[2],${A.slice(5)}}`],
  ['duplicate data_offsets', `{"a":{"data_offsets":[0,2],${A.slice(5)}}`],
  ['duplicate ignored field', `{"a":{"x":1,"x":2,${A.slice(5)}}`],
  ['duplicate in an ignored field', ignored('{"b":1,"b":2}')],
  ['unknown field', ignored('{"b":[1.5,null,true]}')],
  ['dtype spelled with an escape', `{"a":{"d\\u0074ype":"\\u00558","shape":[2],"data_offsets":[0,2]}}`],
  ['__metadata__ spelled with an escape', `{"\\u005f_metadata__":{"k":"v"},${A}}`],
  ['__metadata__ null', `{"__metadata__":null,${A}}`],
  ['__metadata__ empty', `{"__metadata__":{},${A}}`],
  ['__metadata__ number', `{"__metadata__":1,${A}}`],
  ['__metadata__ string', `{"__metadata__":"",${A}}`],
  ['__metadata__ array', `{"__metadata__":[],${A}}`],
  ['__metadata__ value number', `{"__metadata__":{"k":1},${A}}`],
  ['__metadata__ value null', `{"__metadata__":{"k":null},${A}}`],
  ['tensor null', '{"a":null}', 0],
  ['tensor number', '{"a":0}', 0],
  ['no dtype', '{"a":{"shape":[2],"data_offsets":[0,2]}}'],
  ['no shape', '{"a":{"dtype":"U8","data_offsets":[0,2]}}'],
  ['no data_offsets', '{"a":{"dtype":"U8","shape":[2]}}'],
  ['unknown dtype', one('U7', '[2]', '[0,2]')],
  ['dtype in lower case', one('u8', '[2]', '[0,2]')],
  ['shape 2.0', one('U8', '[2.0]', '[0,2]')],
  ['shape 2e0', one('U8', '[2e0]', '[0,2]')],
  ['shape -0', one('U8', '[-0]', '[0,0]'), 0],
  ['shape 02', one('U8', '[02]', '[0,2]')],
  ['shape "2"', one('U8', '["2"]', '[0,2]')],
  ['shape above u64', one('U8', '[0,18446744073709551616]', '[0,0]'), 0],
  ['shape of u64', one('U8', `[0,${MAX}]`, '[0,0]'), 0],
  ['shape not an array', one('U8', '2', '[0,2]')],
  ['offset -0', one('U8', '[2]', '[-0,2]')],
  ['offset 2.0', one('U8', '[2]', '[0,2.0]')],
  ['one offset', one('U8', '[2]', '[2]')],
  ['three offsets', one('U8', '[2]', '[0,2,2]')],
  ['NUL escape in a name', '{"\\u0000":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'],
  ['pair escape in a name', '{"\\ud83d\\ude00":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'],
  ['lone high surrogate', '{"\\ud83d":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'],
  ['lone low surrogate', '{"\\ude00":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'],
  ['pair the wrong way round', ignored('"\\ude00\\ud83d"')],
  ['high surrogate before a letter', ignored('"\\ud83d\\u0041"')],
  ['raw control character', '{"\n":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'],
  ['raw DEL', ignored('"\u007f"')],
  ['empty name', '{"":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'],
  ['__proto__', '{"__proto__":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'],
  ...[
    '1e308',
    '1e309',
    '-1e309',
    '0e999',
    '1e-999',
    '1e99999999999',
    '0e99999999999',
    '-0',
    '18446744073709551616',
  ].map((json): [string, string] => [`ignored ${json}`, ignored(json)]),
  ...[
    'NaN',
    '-Infinity',
    '1.',
    '.5',
    '+1',
    '01',
    '-',
    '1e',
    'tru',
    '"\\x"',
    '"\\u12G4"',
    '[1,]',
    '{"b"}',
    '9'.repeat(400),
  ].map((json): [string, string] => [`ignored ${json}`, ignored(json)]),
  ['nesting of 127', ignored(nested(125))],
  ['nesting of 128', ignored(nested(126))],
  ['nesting of 100,000', ignored(nested(100_000))],
  ['keys in another order', `{${entry('b', 'U8', '[1]', '[1,2]')},${entry('a', 'U8', '[1]', '[0,1]')}}`],
  ['hole at the beginning', one('U8', '[1]', '[1,2]')],
  ['hole', `{${entry('a', 'U8', '[1]', '[0,1]')},${entry('b', 'U8', '[1]', '[2,3]')}}`, 3],
  ['overlap', `{${A},${entry('b', 'U8', '[2]', '[1,3]')}}`, 3],
  ['alias', `{${A},${entry('b', 'U8', '[2]', '[0,2]')}}`],
  ['reversed', one('U8', '[2]', '[2,0]')],
  ['scalar', one('U16', '[]', '[0,2]')],
  ['zero-size', one('U16', '[0]', '[0,0]'), 0],
  ['zero-size away from the cursor', `{${A},${entry('z', 'U8', '[0]', '[1,1]')}}`],
  [
    'zero-size in the middle',
    `{${entry('b', 'U8', '[1]', '[1,2]')},${entry('z', 'U8', '[0]', '[1,1]')},${entry('a', 'U8', '[1]', '[0,1]')}}`,
  ],
  ['overflow before zero', one('U8', `[${MAX},2,0]`, '[0,0]'), 0],
  ['zero before overflow', one('U8', `[0,${MAX},2]`, '[0,0]'), 0],
  ['bits overflow', one('U8', `[${MAX}]`, '[0,2]')],
  ['size wraps', one('U8', '[4294967296,4294967296]', '[0,0]'), 0],
  ['end of u64', one('U8', '[2]', `[0,${MAX}]`)],
  ['wrong size', one('U16', '[2]', '[0,2]')],
  ['F4 even', one('F4', '[4]', '[0,2]')],
  ['F4 odd', one('F4', '[3]', '[0,2]')],
  ['F6 fours', one('F6_E2M3', '[4]', '[0,3]'), 3],
  ['F6 twos', one('F6_E3M2', '[2]', '[0,2]')],
  ['truncated', `{${A}}`, 1],
  ['trailing bytes', `{${A}}`, 3],
]

/** The documented differences: the reference accepts these, this package refuses them. */
const STRICTER: [name: string, header: string, code: string][] = [
  ['duplicate tensor at the same place', `{${A},${A}}`, 'SAFETENSORS_DUPLICATE_KEY'],
  ['duplicate tensor through an escape', `{${A},"\\u0061":${A.slice(4)}}`, 'SAFETENSORS_DUPLICATE_KEY'],
  ['duplicate key in __metadata__', `{"__metadata__":{"k":"v","k":"w"},${A}}`, 'SAFETENSORS_DUPLICATE_KEY'],
  ['tensor as an array', '{"a":["U8",[2],[0,2]]}', 'SAFETENSORS_INVALID_HEADER_JSON'],
  ['dtype as a map', '{"a":{"dtype":{"U8":null},"shape":[2],"data_offsets":[0,2]}}', 'SAFETENSORS_INVALID_HEADER_JSON'],
]

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')

const JUDGE = `
import base64, json, sys, safetensors
def judge(data):
    try:
        safetensors.deserialize(data)
        return 'ok'
    except safetensors.SafetensorError as error:
        return str(error)
json.dump([judge(base64.b64decode(item)) for item in json.load(sys.stdin)], sys.stdout)
`

/** What the reference says to each file: ok or its message. */
function judgedByReference(files: Uint8Array[]): string[] {
  return runPython<string[]>(JUDGE, files.map(base64))
}

if (pythonMissing !== null) console.warn(`Not compared with the Python package: ${pythonMissing}`)

describe('compared with the Python package', () => {
  test('parseSafetensors() accepts and refuses the same headers', ({ skip }) => {
    skip(pythonMissing !== null, pythonMissing ?? '')
    const files = HEADERS.map(([, header, data = 2]) => file(header, data))
    const reference = judgedByReference(files)
    const compared = HEADERS.map(([name], i) => {
      const ours = outcome(() => parseSafetensors(files[i]!))
      return { name, ours: ours === 'ok', reference: reference[i] === 'ok' }
    })
    expect(compared.filter(({ ours, reference }) => ours !== reference)).toEqual([])
    // A table that only one side of the rule fills would prove little.
    expect(compared.filter(({ ours }) => ours).length).toBeGreaterThan(20)
    expect(compared.filter(({ ours }) => !ours).length).toBeGreaterThan(40)
  })

  test('parseSafetensors() refuses for the same reason', ({ skip }) => {
    skip(pythonMissing !== null, pythonMissing ?? '')
    const reasons: Record<string, RegExp> = {
      SAFETENSORS_HEADER_TOO_SMALL: /header too small/,
      SAFETENSORS_HEADER_TOO_LARGE: /header too large/,
      SAFETENSORS_INVALID_HEADER_LENGTH: /invalid header length/,
      SAFETENSORS_INVALID_HEADER_UTF8: /invalid UTF-8/,
      SAFETENSORS_INVALID_HEADER_JSON: /invalid JSON/,
      SAFETENSORS_DUPLICATE_KEY: /duplicate field|invalid offset/, // the reference keeps the last of two tensors
      SAFETENSORS_INVALID_OFFSET: /invalid offset/,
      SAFETENSORS_VALIDATION_OVERFLOW: /overflow/,
      SAFETENSORS_MISALIGNED_SLICE: /bits|byte|align/,
      SAFETENSORS_TENSOR_INVALID_INFO: /shape, data type, or offset/,
      SAFETENSORS_METADATA_INCOMPLETE_BUFFER: /incomplete metadata/,
    }
    const length = (n: bigint): Uint8Array => new Uint8Array(BigUint64Array.of(n).buffer)
    const files = [
      ...HEADERS.map(([, header, data = 2]) => file(header, data)),
      new Uint8Array(7),
      length(100_000_001n),
      length(2n ** 64n - 1n),
      length(100_000_000n),
    ]
    const reference = judgedByReference(files)
    const wrong = files.flatMap((bytes, i) => {
      const ours = outcome(() => parseSafetensors(bytes))
      return ours === 'ok' || reasons[ours]!.test(reference[i]!) ? [] : [[HEADERS[i]?.[0], ours, reference[i]]]
    })
    expect(wrong).toEqual([])
  })

  test('parseSafetensors() is stricter in the documented cases only', ({ skip }) => {
    skip(pythonMissing !== null, pythonMissing ?? '')
    const files = STRICTER.map(([, header]) => file(header, 2))
    expect(judgedByReference(files)).toEqual(STRICTER.map(() => 'ok'))
    expect(files.map((bytes) => outcome(() => parseSafetensors(bytes)))).toEqual(STRICTER.map(([, , code]) => code))
  })

  test('serialize() writes what it reads back identically', ({ skip }) => {
    skip(pythonMissing !== null, pythonMissing ?? '')
    const samples = fc.sample(tensorsArbitrary, { numRuns: 200, seed: 1 })
    const read = runPython<[string, { dtype: string; shape: number[]; data: string }][][]>(
      `
import base64, json, sys, safetensors
def read(data):
    return [[name, {'dtype': t['dtype'], 'shape': list(t['shape']), 'data': base64.b64encode(bytes(t['data'])).decode()}]
            for name, t in safetensors.deserialize(data)]
json.dump([read(base64.b64decode(item)) for item in json.load(sys.stdin)], sys.stdout)
`,
      samples.map((tensors) => base64(serialize(tensors, { format: 'pt' }))),
    )
    const sorted = (list: [string, unknown][]): [string, unknown][] => list.sort(([a], [b]) => (a < b ? -1 : 1))
    samples.forEach((tensors, i) => {
      const expected = tensors.map(({ name, dtype, shape, data }): [string, unknown] => [
        name,
        { dtype, shape, data: base64(data) },
      ])
      expect(sorted(read[i]!)).toEqual(sorted(expected))
    })
  })

  test('serialize() writes the same bytes, given at most one metadata key', ({ skip }) => {
    skip(pythonMissing !== null, pythonMissing ?? '')
    // The types that numpy has, with names that need escapes and a byte order of their own.
    const dtypes = {
      bool: 'BOOL',
      uint8: 'U8',
      int8: 'I8',
      int16: 'I16',
      uint16: 'U16',
      float16: 'F16',
      int32: 'I32',
      uint32: 'U32',
      float32: 'F32',
      complex64: 'C64',
      float64: 'F64',
      int64: 'I64',
      uint64: 'U64',
    } as const
    const names = ['b', 'a', 'é', '\uffff', '\u{10000}', '"\\\n\u0000\u001f\u007f/', '', '10', '9']
    const specs = Object.entries(dtypes).flatMap(([numpy, dtype], i) => [
      { numpy, dtype, name: `${dtype} ${names[i % names.length]}`, shape: [2, 3] },
      { numpy, dtype, name: `${names[(i + 4) % names.length]} ${dtype}`, shape: i % 2 === 0 ? [] : [0, 5] },
    ])
    const cases = [null, {}, { format: 'pt' }, { 'k"\u0001é': '\u2028\b\f' }]
    const written = runPython<string[]>(
      `
import base64, json, sys, numpy, safetensors.numpy
given = json.load(sys.stdin)
tensors = {s['name']: numpy.zeros(s['shape'], dtype=s['numpy']) for s in given['specs']}
json.dump([base64.b64encode(safetensors.numpy.save(t, metadata=m)).decode()
           for m in given['cases'] for t in (tensors, {}) if t or m != {}], sys.stdout)
`,
      { specs, cases },
    )
    const tensors = specs.map(({ name, dtype, shape, numpy }) => {
      const count = shape.reduce((product, dimension) => product * dimension, 1)
      const bytes = numpy === 'bool' ? 1 : Number(numpy.replace(/\D/g, '')) / 8
      return { name, dtype, shape, data: new Uint8Array(count * bytes) }
    })
    const ours = cases.flatMap((metadata) => [
      base64(serialize(tensors, metadata)),
      // Of no tensors and metadata without a key the reference makes invalid JSON: {},"__metadata__":{}}
      ...(metadata !== null && Object.keys(metadata).length === 0 ? [] : [base64(serialize([], metadata))]),
    ])
    expect(ours).toEqual(written)
  })

  test('serializeShardIndex() writes the same bytes as json.dump()', ({ skip }) => {
    skip(pythonMissing !== null, pythonMissing ?? '')
    const index = {
      metadata: {
        total_size: 123456789012,
        note: 'é "x" \u0000\u007f\u2028😀',
        list: [1, -2.5, null, true, [], {}, { a: 'b' }],
      },
      weight_map: {
        b: 'x-2',
        a: 'x-1',
        é: 'x-1',
        '\uffff': 'x-1',
        '\u{10000}': 'x-2',
        '10': 'x-1',
        '9': 'x-1',
        'a.b': 'x-1',
      },
    }
    const written = runPython<string>(
      'import json, sys; json.dump(json.dumps(json.load(sys.stdin), indent=2, sort_keys=True), sys.stdout)',
      index,
    )
    const { weightMap, totalSize, metadata } = parseShardIndex(utf8(JSON.stringify(index)))
    expect(new TextDecoder().decode(serializeShardIndex({ weightMap, totalSize, metadata }))).toBe(written)
  })
})
