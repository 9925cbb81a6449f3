import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type FlatIndex, scanFlatIndex } from '../src/flat-index.ts'
import { MAX_INDEX_BYTES, parseShardIndex, serializeShardIndex } from '../src/shard-index.ts'
import { textArbitrary } from './arbitraries.ts'
import { outcome, utf8 } from './bytes.ts'
import { anyChanges, changed } from './changes.ts'

/** Tensor and shard of every entry, decoded. */
function entriesOf({ names, nameEnds, shards, shardNames }: FlatIndex): [tensor: string, shard: string][] {
  return Array.from(nameEnds, (end, at) => {
    const name = new TextDecoder().decode(names.subarray(at && nameEnds[at - 1], end))
    return [name, shardNames[shards[at]!]!]
  })
}

/** Scans and sees to it that the strict parser gives the same; whether the quick path was taken. */
function agrees(json: Uint8Array): boolean {
  const flat = scanFlatIndex(json)
  if (flat === null) return false
  const entries = entriesOf(flat)
  expect(flat.count).toBe(entries.length)
  const code = outcome(() => parseShardIndex(json))
  if (code === 'ok') {
    const { weightMap, shardNames } = parseShardIndex(json)
    expect(entries).toEqual([...weightMap])
    expect(flat.shardNames).toEqual(shardNames)
  } else {
    expect(code).toBe('SAFETENSORS_DUPLICATE_KEY')
    expect(new Map(entries).size).toBeLessThan(flat.count)
  }
  return true
}

const plainName = fc.constantFrom('', 'a', 'b', 'layers.0.\u007f !', '__proto__', 'constructor', '10', '9')
const shardName = fc.constantFrom('x-1', 'x-2', 'x-10', 'y.safetensors')
const metadataArbitrary = fc.option(
  fc.array(fc.tuple(textArbitrary, fc.oneof(fc.nat(), fc.constant('1.5'))), { maxLength: 3 }),
)

const indexArbitrary = fc
  .record({
    weights: fc.array(fc.tuple(fc.oneof({ weight: 9, arbitrary: plainName }, textArbitrary), shardName), {
      maxLength: 8,
    }),
    metadata: metadataArbitrary,
    totalSize: fc.option(fc.nat()),
    indented: fc.boolean(),
  })
  .map(({ weights, metadata, totalSize, indented }) => {
    const weightMap = new Map(weights)
    const json = serializeShardIndex({ weightMap, totalSize, metadata: metadata && new Map(metadata) })
    return { weightMap, json: indented ? json : utf8(JSON.stringify(JSON.parse(new TextDecoder().decode(json)))) }
  })

const VALID = '{"metadata":{"total_size":1.0,"k":"v"},"weight_map":{"a":"x-1","b":"x-2", "c" : "x-1"},"z":[null,"\\n"]}'

describe('scanFlatIndex() gives what parseShardIndex() gives', () => {
  test('for random indices, and takes most of those with plain names', () => {
    let plain = 0
    let taken = 0
    const property = fc.property(indexArbitrary, ({ weightMap, json }) => {
      if ([...weightMap.keys()].every((name) => /^[\x20!#-[\]-\x7e]*$/.test(name))) plain++
      if (agrees(json)) taken++
    })
    fc.assert(property, { numRuns: 1000 })
    expect(taken).toBeGreaterThan(plain / 2)
    expect(plain).toBeGreaterThan(100)
  })

  test('for random indices with bytes changed, cut and added', () => {
    let taken = 0
    const property = fc.property(indexArbitrary, anyChanges, ({ json }, changes) => {
      if (agrees(changed(json, changes))) taken++
    })
    fc.assert(property, { numRuns: 8000 })
    expect(taken).toBeGreaterThan(400)
  })

  test('for random members, spaces and doubles', () => {
    let taken = 0
    const space = fc.constantFrom('', '', '', ' ', '\n\t', '\r')
    const object = (keys: readonly string[], values: readonly string[]): fc.Arbitrary<string> => {
      const member = fc.tuple(space, fc.constantFrom(...keys), space, fc.constantFrom(...values), space)
      const text = member.map(([a, key, b, value, c]) => `${a}"${key}"${b}:${value}${c}`)
      return fc.array(text, { maxLength: 3 }).map((members) => `{${members.join(',')}}`)
    }
    const value = ['1', '"x"', 'null', '{"k":1,"k":2}', '"\\":"', ' 1e3']
    const property = fc.property(
      object(['k', 'j', '\\u006b', 'k:', '\\":'], value),
      object(['a', 'b', 'c', ''], ['"x"', ' "y"', '"\\u0078"']),
      fc.shuffledSubarray(['metadata', 'weight_map', 'z', 'weight_map ']),
      space,
      (metadata, weights, keys, between) => {
        const members = keys.map((key) => `"${key}"${between}:${key === 'weight_map' ? weights : metadata}`)
        if (agrees(utf8(`{${members.join(`${between},`)}${between}}`))) taken++
      },
    )
    fc.assert(property, { numRuns: 3000 })
    expect(taken).toBeGreaterThan(300)
  })

  test('for an index with any one byte replaced, left out or put in, and for all its beginnings', () => {
    const json = utf8(VALID)
    const bytes = [0x00, 0x0a, 0x1f, 0x20, ...utf8('"\\/,:{}[]-.019abcnux_'), 0x7f, 0x80, 0xa9, 0xc3, 0xed, 0xff]
    let taken = 0
    for (let at = 0; at <= json.length; at++) {
      const [before, rest] = [json.subarray(0, at), json.subarray(at)]
      const variants = [before, [...before, ...rest.subarray(1)]]
      for (const byte of bytes) variants.push([...before, byte, ...rest], [...before, byte, ...rest.subarray(1)])
      for (const variant of variants) if (agrees(Uint8Array.from(variant))) taken++
    }
    expect(taken).toBeGreaterThan(1000)
  })

  test.each<[condition: string, json: string]>([
    ['no tensor', '{"weight_map":{}}'],
    ['no tensor, with spaces', ' {\n"weight_map" : { }\t}\r\n'],
    ['an empty name', '{"weight_map":{"":"x"}}'],
    ['metadata that are null', '{"metadata":null,"weight_map":{"a":"x"}}'],
    ['metadata behind the map', '{"weight_map":{"a":"x"},"metadata":{"total_size":"12"}}'],
    ['keys of metadata beyond ASCII', '{"metadata":{"é":1,"\\u00e8":2},"weight_map":{"a":"x"}}'],
    ['metadata that hold anything', '{"metadata" : {"k":{"k":1,"k":2},"a:":[true,"\\":"]},"weight_map":{}}'],
    ['metadata as deep as may be', `{"metadata":{"k":${'['.repeat(125)}${']'.repeat(125)}},"weight_map":{}}`],
    ['unknown members', '{"z":{"a":[1,{"b":null}]},"weight_map":{"a":"x"},"weight_map2":1,"weight_ma":"é"}'],
    ['a shard with an escape in its name, and without', '{"weight_map":{"a":"\\u0078","b":"x","c":"\\u0078"}}'],
    ['shards of which one name begins another', '{"weight_map":{"a":"x","b":"xx","c":"x","d":"xx"}}'],
    ['a long name of a shard', `{"weight_map":{"a":"${'x'.repeat(300)}","b":"${'x'.repeat(301)}"}}`],
  ])('and takes %s', (_, json) => {
    expect(agrees(utf8(json))).toBe(true)
  })

  test('from Buffers, the middle of a buffer and shared memory', () => {
    const json = utf8(VALID)
    const shared = new Uint8Array(new SharedArrayBuffer(json.length + 3), 3)
    shared.set(json)
    for (const source of [json, Buffer.from(json), shared]) expect(agrees(source)).toBe(true)
  })
})

describe('scanFlatIndex() leaves to parseShardIndex()', () => {
  test.each<[condition: string, json: string, code: string]>([
    ['no bytes', '', 'SAFETENSORS_INVALID_INDEX'],
    ['an array', '[]', 'SAFETENSORS_INVALID_INDEX'],
    ['a byte order mark', `\ufeff${VALID}`, 'SAFETENSORS_INVALID_INDEX'],
    ['no weight_map', '{"metadata":{}}', 'SAFETENSORS_INVALID_INDEX'],
    ['a map that is not closed', '{"weight_map":{"a":"x"', 'SAFETENSORS_INVALID_INDEX'],
    ['a comma at the end', '{"weight_map":{"a":"x",}}', 'SAFETENSORS_INVALID_INDEX'],
    ['a shard that is not closed', '{"weight_map":{"a":"x', 'SAFETENSORS_INVALID_INDEX'],
    ['a shard that is a number', '{"weight_map":{"a":1}}', 'SAFETENSORS_INVALID_INDEX'],
    ['text behind the index', '{"weight_map":{}} x', 'SAFETENSORS_INVALID_INDEX'],
    ['metadata that are no object', '{"metadata":1,"weight_map":{}}', 'SAFETENSORS_INVALID_INDEX'],
    ['the map twice', '{"weight_map":{},"weight_map":{}}', 'SAFETENSORS_DUPLICATE_KEY'],
    ['the map twice, once with an escape', '{"weight_map":{},"weight\\u005fmap":{}}', 'SAFETENSORS_DUPLICATE_KEY'],
    ['metadata twice', '{"metadata":{},"weight_map":{},"metadata":null}', 'SAFETENSORS_DUPLICATE_KEY'],
    ['a key of metadata twice', '{"metadata":{"k":1,"\\u006b":1},"weight_map":{}}', 'SAFETENSORS_DUPLICATE_KEY'],
    [
      'a key of metadata twice, with a space',
      '{"metadata":{"k" :1,"k":1},"weight_map":{}}',
      'SAFETENSORS_DUPLICATE_KEY',
    ],
    [
      'a key twice in metadata with a space',
      '{"metadata" :{"k":1,"k":1},"weight_map":{}}',
      'SAFETENSORS_DUPLICATE_KEY',
    ],
    [
      'metadata too deep',
      `{"metadata":{"k":${'['.repeat(126)}${']'.repeat(126)}},"weight_map":{}}`,
      'SAFETENSORS_INVALID_INDEX',
    ],
    ['a shard in another folder', '{"weight_map":{"a":"x","b":"../x"}}', 'SAFETENSORS_UNSAFE_SHARD_NAME'],
    ['a shard in another folder by an escape', '{"weight_map":{"a":"x\\u002fx"}}', 'SAFETENSORS_UNSAFE_SHARD_NAME'],
    ['a shard without a name', '{"weight_map":{"a":""}}', 'SAFETENSORS_UNSAFE_SHARD_NAME'],
    ['an unknown member twice', '{"z":1,"z":2,"weight_map":{}}', 'ok'],
    ['a name with an escape', '{"weight_map":{"\\u0061":"x"}}', 'ok'],
    ['a name beyond ASCII', '{"weight_map":{"é":"x"}}', 'ok'],
    ['a shard beyond ASCII', '{"weight_map":{"a":"é"}}', 'ok'],
  ])('%s', (_, json, code) => {
    expect(scanFlatIndex(utf8(json))).toBeNull()
    expect(outcome(() => parseShardIndex(utf8(json)))).toBe(code)
  })

  test.each([
    ['a name', '{"weight_map":{"a\xff":"x"}}'],
    ['a shard', '{"weight_map":{"a":"x\xff"}}'],
    ['an escaped shard', '{"weight_map":{"a":"\\u0078\xff"}}'],
    ['metadata', '{"metadata":{"k":"\xff"},"weight_map":{}}'],
    ['an unknown member', '{"\xc3":1,"weight_map":{}}'],
  ])('bytes in %s that are not UTF-8', (_, latin1) => {
    const json = Uint8Array.from(Buffer.from(latin1, 'latin1'))
    expect(scanFlatIndex(json)).toBeNull()
    expect(outcome(() => parseShardIndex(json))).toBe('SAFETENSORS_INVALID_INDEX')
  })

  test('an index above the limit', () => {
    const json = new Uint8Array(MAX_INDEX_BYTES + 1).fill(0x20)
    json.set(utf8('{"weight_map":{}}'))
    expect(scanFlatIndex(json.subarray(0, -1))?.count).toBe(0)
    expect(scanFlatIndex(json)).toBeNull()
  })
})

test('scanFlatIndex() lets a tensor pass that stands twice, with both its shards', () => {
  const flat = scanFlatIndex(utf8('{"weight_map":{"a":"x","a":"y"}}'))!
  expect(entriesOf(flat)).toEqual([
    ['a', 'x'],
    ['a', 'y'],
  ])
})

test('scanFlatIndex() keeps thousands of shards apart that change with every tensor', () => {
  const [tensors, shards] = [60_000, 7_000] // a search through all shards for each tensor would take seconds
  const weightMap = Object.fromEntries(
    Array.from({ length: tensors }, (_, at) => [`t.${at}`, `model-${(at * 3571) % shards}.safetensors`]),
  )
  const json = utf8(JSON.stringify({ weight_map: weightMap }))
  expect(scanFlatIndex(json)?.shardNames).toHaveLength(shards)
  expect(agrees(json)).toBe(true)
})

test('scanFlatIndex() takes indices as libraries write them', () => {
  const weightMap = Object.fromEntries(
    Array.from({ length: 300 }, (_, at) => [
      `model.layers.${at}.weight`,
      `model-0000${1 + (at >> 7)}-of-00003.safetensors`,
    ]),
  )
  const map = new Map(Object.entries(weightMap))
  const json = (index: object, indent?: number): Uint8Array => utf8(JSON.stringify(index, null, indent))
  const indices = [
    serializeShardIndex({ weightMap: map, totalSize: 12 }),
    serializeShardIndex({ weightMap: map, totalSize: null }),
    serializeShardIndex({ weightMap: map, totalSize: 12, metadata: new Map([['format', 'pt']]) }),
    // json.dumps(index, indent=2), with a line feed behind it as transformers writes it; total_size may be a float.
    utf8(`${JSON.stringify({ metadata: { total_size: 12 }, weight_map: weightMap }, null, 2)}\n`),
    utf8(`{"metadata": {"total_size": 12.0}, ${JSON.stringify({ weight_map: weightMap }, null, 1).slice(1)}`),
    // json.dumps(index) without arguments
    utf8(JSON.stringify({ weight_map: weightMap }).replaceAll('":', '": ').replaceAll(',', ', ')),
    // serde_json, compact and pretty
    json({ metadata: { total_parameters: 3, total_size: 12 }, weight_map: weightMap }),
    json({ metadata: null, weight_map: weightMap }, 2),
    json({ weight_map: weightMap, metadata: {} }),
  ]
  expect(indices.filter(agrees)).toHaveLength(indices.length)
})
