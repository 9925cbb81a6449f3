import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tries } from '../../../test/many-inputs.ts'
import { parseShardIndex, serializeShardIndex } from '../src/shard-index.ts'
import { textArbitrary } from './arbitraries.ts'
import { outcome, thrownBy, utf8 } from './bytes.ts'

const parse = (json: string): ReturnType<typeof parseShardIndex> => parseShardIndex(utf8(json))

describe('parseShardIndex()', () => {
  test('reads an index', () => {
    const index = parse(
      '{"metadata":{"total_size":12,"format":"pt"},"weight_map":{"b":"2.safetensors","a":"1.safetensors","c":"2.safetensors","10":"1.safetensors"}}',
    )
    expect([...index.weightMap]).toEqual([
      ['b', '2.safetensors'],
      ['a', '1.safetensors'],
      ['c', '2.safetensors'],
      ['10', '1.safetensors'],
    ])
    expect(index.shardNames).toEqual(['2.safetensors', '1.safetensors'])
    expect(index.totalSize).toBe(12)
    expect([...index.metadata!]).toEqual([
      ['total_size', 12],
      ['format', 'pt'],
    ])
  })

  test('takes an index without metadata, with null, with unknown members, and without tensors', () => {
    for (const json of [
      '{"weight_map":{}}',
      ' {"metadata":null,"weight_map":{}} ',
      '{"other":[{"weight_map":1}],"weight_map":{},"other":2}',
    ]) {
      expect(parse(json)).toEqual({ weightMap: new Map(), shardNames: [], totalSize: null, metadata: null })
    }
  })

  test('takes any tensor name', () => {
    const names = ['', '__proto__', 'constructor', '__metadata__', '1', 'é', '\u0000', '/']
    const { weightMap } = parse(`{"weight_map":{${names.map((name) => `${JSON.stringify(name)}:"a"`).join(',')}}}`)
    expect([...weightMap.keys()]).toEqual(names)
  })

  test('reads a shard name that is spelled with escapes', () => {
    const { weightMap, shardNames } = parse('{"weight_map":{"a":"x.y","b":"\\u0078.y","c":"x\\u002ey"}}')
    expect([...weightMap.values()]).toEqual(['x.y', 'x.y', 'x.y'])
    expect(shardNames).toEqual(['x.y'])
  })

  test.each<[string, number | null]>([
    ['5', 5],
    ['0', 0],
    ['5.0', 5],
    ['1.5e10', 15_000_000_000],
    ['"123"', 123],
    ['"123.0"', 123],
    ['18446744073709551616', 2 ** 64],
    ['-1', null],
    ['"-1"', null],
    ['""', null],
    ['" 5"', null],
    ['"0x10"', null],
    ['"Infinity"', null],
    [`"${'9'.repeat(400)}"`, null],
    ['null', null],
    ['true', null],
    ['[5]', null],
    ['{}', null],
  ])('reads the total_size %s', (json, expected) => {
    expect(parse(`{"metadata":{"total_size":${json}},"weight_map":{}}`).totalSize).toBe(expected)
  })

  test('gives metadata values as JSON.parse does', () => {
    const { metadata } = parse(
      '{"weight_map":{},"metadata":{"a":[1,{"__proto__":null}],"b": "\\u00e9" ,"__proto__":1.5}}',
    )
    expect(metadata!.get('a')).toEqual([1, JSON.parse('{"__proto__":null}')])
    expect(metadata!.get('b')).toBe('é')
    expect(metadata!.get('__proto__')).toBe(1.5)
  })

  test.each([
    '',
    '[]',
    'null',
    '{}',
    '{"metadata":{}}',
    '{"weight_map":null}',
    '{"weight_map":[]}',
    '{"weight_map":"a"}',
    '{"weight_map":{"a":1}}',
    '{"weight_map":{"a":null}}',
    '{"weight_map":{"a":["x"]}}',
    '{"weight_map":{"a":"x"},}',
    '{"weight_map":{"a":"x",}}',
    '{"weight_map":{"a":"x"}',
    '{"weight_map":{"a":"x"}}x',
    '\ufeff{"weight_map":{}}',
    '{"weight_map":{},"metadata":[]}',
    '{"weight_map":{},"metadata":5}',
    '{"weight_map":{},"metadata":{"total_size":NaN}}',
    '{"weight_map":{"\\ud800":"x"}}',
    `{"weight_map":{},"metadata":{"a":${'['.repeat(126)}${']'.repeat(126)}}}`,
    `{"a":${'['.repeat(1_000_000)}`,
  ])('refuses %s', (json) => {
    expect(outcome(() => parse(json))).toBe('SAFETENSORS_INVALID_INDEX')
  })

  test.each([
    ['{"weight_map":{"b":"x","a":1}}', 'SAFETENSORS_INVALID_INDEX'],
    ['{"weight_map":{"b":"x","a":"x', 'SAFETENSORS_INVALID_INDEX'],
    ['{"weight_map":{"b":"x","a":"../x"}}', 'SAFETENSORS_UNSAFE_SHARD_NAME'],
    ['{"weight_map":{"b":"x","a":""}}', 'SAFETENSORS_UNSAFE_SHARD_NAME'],
    ['{"weight_map":{"a":"x","b":"x","a":"x"}}', 'SAFETENSORS_DUPLICATE_KEY'],
  ])('names the tensor at fault in %s', (json, code) => {
    const error = thrownBy(() => parse(json))
    expect(error).toMatchObject({ code, tensor: 'a' })
    expect(error.message).toContain('"a"')
  })

  test.each(['{"weight_map":{"a":"x"', '{"weight_map":{"a":"x"},"metadata":1}'])('names no tensor in %s', (json) => {
    expect(thrownBy(() => parse(json))).toMatchObject({ code: 'SAFETENSORS_INVALID_INDEX', tensor: undefined })
  })

  test('refuses bytes that are not UTF-8', () => {
    const bytes = Uint8Array.from([...utf8('{"weight_map":{"'), 0xff, ...utf8('":"a"}}')])
    expect(thrownBy(() => parseShardIndex(bytes))).toMatchObject({
      code: 'SAFETENSORS_INVALID_INDEX',
      message: 'Shard index is not valid UTF-8 at byte 16',
    })
  })

  test.each([
    ['a tensor', '{"weight_map":{"a":"x","b":"x","a":"x"}}'],
    ['a tensor through an escape', '{"weight_map":{"a":"x","\\u0061":"y"}}'],
    ['weight_map', '{"weight_map":{},"weight_map":{}}'],
    ['metadata', '{"metadata":null,"weight_map":{},"metadata":null}'],
    ['a key of metadata', '{"metadata":{"total_size":1,"total_size":1},"weight_map":{}}'],
  ])('refuses %s twice', (_, json) => {
    expect(outcome(() => parse(json))).toBe('SAFETENSORS_DUPLICATE_KEY')
  })

  test.each(['', '..', '../x', '/etc/passwd', 'C:x', 'https://x/y', 'a\\b', 'a\u0000b'])(
    'refuses the shard %j',
    (shard) => {
      for (const shards of [[shard], ['ok', shard], [shard, 'ok'], ['ok', 'ok', shard]]) {
        const json = `{"weight_map":{${shards.map((s, i) => `"${i}":${JSON.stringify(s)}`).join(',')}}}`
        expect(outcome(() => parse(json))).toBe('SAFETENSORS_UNSAFE_SHARD_NAME')
      }
    },
  )

  test('returns or throws a SafetensorsError, whatever the bytes', () => {
    const valid = utf8('{"metadata":{"total_size":1.0},"weight_map":{"a":"x-1","b":"x-2","c":"x-1"},"z":[null,true]}')
    const change = fc.tuple(fc.nat(), fc.nat(255))
    const mutated = fc.array(change, { minLength: 1, maxLength: 4 }).map((changes) => {
      const bytes = valid.slice()
      for (const [at, byte] of changes) bytes[at % bytes.length] = byte
      return bytes
    })
    fc.assert(
      fc.property(
        fc.oneof(mutated, fc.uint8Array({ maxLength: 64 })),
        (bytes) => void outcome(() => parseShardIndex(bytes)),
      ),
      tries(500),
    )
  })
})

describe('serializeShardIndex()', () => {
  test('writes what json.dump(index, file, indent=2, sort_keys=True) writes', () => {
    const weightMap = new Map([
      ['b', 'model-00002-of-00002.safetensors'],
      ['é"', 'model-00001-of-00002.safetensors'],
      ['a', 'model-00001-of-00002.safetensors'],
    ])
    const metadata = new Map<string, unknown>([
      ['z', ['\u007f', { k: null }, [], {}]],
      ['total_size', 'replaced'],
    ])
    expect(new TextDecoder().decode(serializeShardIndex({ weightMap, totalSize: 7, metadata }))).toBe(
      `{
  "metadata": {
    "total_size": 7,
    "z": [
      "\\u007f",
      {
        "k": null
      },
      [],
      {}
    ]
  },
  "weight_map": {
    "a": "model-00001-of-00002.safetensors",
    "b": "model-00002-of-00002.safetensors",
    "\\u00e9\\"": "model-00001-of-00002.safetensors"
  }
}`,
    )
  })

  test('leaves out metadata that there is not', () => {
    const text = (metadata: Map<string, unknown> | null): string =>
      new TextDecoder().decode(serializeShardIndex({ weightMap: new Map(), totalSize: null, metadata }))
    expect(text(null)).toBe('{\n  "weight_map": {}\n}')
    expect(text(new Map())).toBe('{\n  "metadata": {},\n  "weight_map": {}\n}')
  })

  test('is undone by parseShardIndex()', () => {
    const map = fc.array(fc.tuple(textArbitrary, fc.constantFrom('x-1', 'x-2', 'ü', 'y.safetensors')), { maxLength: 8 })
    const metadata = fc.option(fc.array(fc.tuple(textArbitrary, fc.jsonValue()), { maxLength: 4 }))
    fc.assert(
      fc.property(map, fc.option(fc.nat()), metadata, (weights, totalSize, members) => {
        const weightMap = new Map(weights)
        // Lone surrogates do not come back, and -0 comes back as 0, which is for JSON to answer for.
        fc.pre(!/\\ud/.test(JSON.stringify(members)))
        const index = parseShardIndex(
          serializeShardIndex({ weightMap, totalSize, metadata: members === null ? null : new Map(members) }),
        )
        expect(new Map([...index.weightMap].sort())).toEqual(new Map([...weightMap].sort()))
        if (totalSize !== null) expect(index.totalSize).toBe(totalSize)
        for (const [key, value] of new Map(members ?? [])) {
          if (key !== 'total_size') expect(index.metadata!.get(key)).toEqual(JSON.parse(JSON.stringify(value)))
        }
      }),
      tries(100),
    )
  })

  test('does not depend on the order of its input', () => {
    const a = new Map([
      ['x', 's'],
      ['y', 's'],
    ])
    const b = new Map([...a].reverse())
    expect(serializeShardIndex({ weightMap: a, totalSize: 1 })).toEqual(
      serializeShardIndex({ weightMap: b, totalSize: 1 }),
    )
  })

  test('refuses what no reader could use', () => {
    const weightMap = new Map([['a', 'x']])
    const bad = (input: Partial<Parameters<typeof serializeShardIndex>[0]>): string =>
      outcome(() => serializeShardIndex({ weightMap, totalSize: null, ...input }))
    expect(bad({ weightMap: new Map([['a', '../x']]) })).toBe('SAFETENSORS_UNSAFE_SHARD_NAME')
    expect(bad({ weightMap: new Map([['\ud800', 'x']]) })).toBe('SAFETENSORS_INVALID_INDEX')
    for (const totalSize of [-1, 1.5, Number.NaN, 2 ** 53]) expect(bad({ totalSize })).toBe('SAFETENSORS_INVALID_INDEX')
    const cycle: unknown[] = []
    cycle.push(cycle)
    for (const value of [1n, cycle, undefined, () => 1]) {
      expect(bad({ metadata: new Map([['k', value]]) })).toBe('SAFETENSORS_INVALID_INDEX')
    }
  })
})
