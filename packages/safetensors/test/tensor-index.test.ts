import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tries } from '../../../test/many-inputs.ts'
import type { Dtype } from '../src/dtype.ts'
import { parseSafetensors, readHeaderLength } from '../src/header.ts'
import { serialize } from '../src/serialize.ts'
import {
  type HeaderOfShard,
  type IndexedShard,
  type IndexedTensor,
  indexHeaders,
  layoutText,
  tensorIndex,
} from '../src/tensor-index.ts'
import { dtypeAndShapeArbitrary, tensorsArbitrary, textArbitrary } from './arbitraries.ts'
import { entry, file } from './bytes.ts'

const shards: IndexedShard[] = [
  { name: 'a.safetensors', byteLength: 200 },
  { name: 'b.safetensors', byteLength: 300 },
]
const tensors: IndexedTensor[] = [
  { name: 'x', dtype: 'F32', shape: [2, 3], shard: 0, begin: 100, end: 124 },
  { name: 'y', dtype: 'F16', shape: [38], shard: 0, begin: 124, end: 200 },
  { name: 'z', dtype: 'U8', shape: [], shard: 1, begin: 299, end: 300 },
]
const text = layoutText(tensorIndex(shards, tensors))

/** A shard as whoever read a file's header has it. */
function shardOf(name: string, bytes: Uint8Array): HeaderOfShard {
  const dataOffset = 8 + readHeaderLength(bytes, bytes.length)
  return { name, byteLength: bytes.length, dataOffset, header: parseSafetensors(bytes) }
}

/** The same shards and tensors in another order: `ranks` says where each goes. */
function shuffled(index: { shards: readonly IndexedShard[]; tensors: readonly IndexedTensor[] }, ranks: number[]) {
  const rankOf = (at: number) => ranks[at % ranks.length]!
  const order = Array.from(index.shards.keys()).sort((a, b) => rankOf(a) - rankOf(b))
  return tensorIndex(
    order.map((shard) => index.shards[shard]!),
    Array.from(index.tensors.keys())
      .sort((a, b) => rankOf(a + 1) - rankOf(b + 1))
      .map((at) => ({ ...index.tensors[at]!, shard: order.indexOf(index.tensors[at]!.shard) })),
  )
}

const indexArbitrary = fc
  .array(fc.record({ name: textArbitrary, byteLength: fc.nat(3) }), { minLength: 1, maxLength: 4 })
  .chain((some) =>
    fc.record({
      shards: fc.constant(some),
      tensors: fc.uniqueArray(
        fc.record({
          name: textArbitrary,
          kind: dtypeAndShapeArbitrary,
          shard: fc.nat(some.length - 1),
          begin: fc.nat(3),
          length: fc.nat(2),
        }),
        { selector: ({ name }) => name, maxLength: 8 },
      ),
    }),
  )
  .map((drawn) => ({
    shards: drawn.shards,
    tensors: drawn.tensors.map(({ kind, length, ...rest }): IndexedTensor => {
      return { ...rest, ...kind, end: rest.begin + length }
    }),
  }))

describe('indexHeaders()', () => {
  test('gives every tensor its place in its file', () => {
    const first = file(`{${entry('b', 'F32', '[2]', '[0,8]')},${entry('a', 'U8', '[3,1]', '[8,11]')}}`, 11)
    const second = file(`{"__metadata__":{"format":"pt"},${entry('c', 'F16', '[]', '[0,2]')}}`, 2)
    const index = indexHeaders([shardOf('2.safetensors', second), shardOf('1.safetensors', first)])
    const end = first.length
    expect(index).toEqual({
      shards: [
        { name: '1.safetensors', byteLength: first.length },
        { name: '2.safetensors', byteLength: second.length },
      ],
      tensors: [
        { name: 'b', dtype: 'F32', shape: [2], shard: 0, begin: end - 11, end: end - 3 },
        { name: 'a', dtype: 'U8', shape: [3, 1], shard: 0, begin: end - 3, end },
        { name: 'c', dtype: 'F16', shape: [], shard: 1, begin: second.length - 2, end: second.length },
      ],
    })
  })

  test('points at the bytes of each tensor, for any files', () => {
    fc.assert(
      fc.property(fc.array(tensorsArbitrary, { maxLength: 3 }), (contents) => {
        const files = contents.map((list) => serialize(list))
        const index = indexHeaders(files.map((bytes, at) => shardOf(`${contents.length - at}`, bytes)))
        expect(index.tensors.length).toBe(contents.flat().length)
        for (const { name, shard, begin, end } of index.tensors) {
          const at = contents.length - Number(index.shards[shard]!.name)
          expect(files[at]!.slice(begin, end)).toEqual(contents[at]!.find((tensor) => tensor.name === name)!.data)
        }
      }),
      tries(100),
    )
  })

  test('gives an empty index of no shards, and keeps a shard without tensors', () => {
    expect(indexHeaders([])).toEqual({ shards: [], tensors: [] })
    const empty = file('{}')
    expect(indexHeaders([shardOf('e', empty)])).toEqual({ shards: [{ name: 'e', byteLength: 10 }], tensors: [] })
  })

  test('knows no folder: a file moved elsewhere, and other values in it, leave the text as it is', () => {
    const shard = shardOf(
      'm.safetensors',
      serialize([{ name: 'w', dtype: 'U8', shape: [3], data: Uint8Array.of(1, 2, 3) }]),
    )
    const same = shardOf(
      'm.safetensors',
      serialize([{ name: 'w', dtype: 'U8', shape: [3], data: Uint8Array.of(4, 5, 6) }]),
    )
    const here = indexHeaders([{ ...shard, path: '/here/m.safetensors' } as HeaderOfShard])
    const there = indexHeaders([{ ...same, path: '/there/m.safetensors' } as HeaderOfShard])
    expect(here).toEqual(there)
    expect(layoutText(here)).toBe(layoutText(there))
  })
})

describe('tensorIndex()', () => {
  test('is the same whatever the order of shards and tensors, even where shards share a name', () => {
    fc.assert(
      fc.property(indexArbitrary, fc.array(fc.nat(100), { minLength: 1, maxLength: 9 }), (drawn, ranks) => {
        const index = tensorIndex(drawn.shards, drawn.tensors)
        const other = shuffled(drawn, ranks)
        expect(other).toEqual(index)
        expect(layoutText(other)).toBe(layoutText(index))
        expect(tensorIndex(index.shards, index.tensors)).toEqual(index)
      }),
      tries(200),
    )
  })

  test('orders by UTF-8, then by place, then by name', () => {
    const named = ['\u{10000}', '\uffff', 'b', 'B'].map((name) => ({ name, byteLength: 10 }))
    const tensor = { dtype: 'U8' as const, shape: [0], shard: 0 }
    const index = tensorIndex(named, [
      { ...tensor, name: 'late', begin: 9, end: 10 },
      { ...tensor, name: 'full', shape: [1], begin: 8, end: 9 },
      { ...tensor, name: 'z', begin: 8, end: 8 },
      { ...tensor, name: 'a', begin: 8, end: 8 },
      { ...tensor, name: 'first', shard: 3, begin: 9, end: 9 },
    ])
    expect(index.shards.map(({ name }) => name)).toEqual(['B', 'b', '\uffff', '\u{10000}'])
    expect(index.tensors.map(({ name, shard }) => `${name}@${shard}`)).toEqual([
      'first@0',
      'a@3',
      'z@3',
      'full@3',
      'late@3',
    ])
  })

  test('leaves its input alone and takes nothing but what belongs there', () => {
    const extended = tensors.map((tensor) => Object.freeze({ ...tensor, path: '/there' }))
    const index = tensorIndex(Object.freeze([...shards].reverse()), Object.freeze(extended))
    expect(JSON.stringify(index)).not.toContain('/there')
    expect(structuredClone(index)).toEqual(index)
  })

  test('refuses a tensor in a shard that is not there', () => {
    for (const shard of [2, -1, 0.5]) {
      const run = () => tensorIndex(shards, [{ ...tensors[0]!, shard }])
      expect(run).toThrow(new RangeError(`Tensor "x" is in shard ${shard}, but there are 2 shards`))
    }
  })
})

describe('layoutText()', () => {
  test('is one line of JSON for each shard and each tensor', () => {
    expect(text.split('\n').map((line) => JSON.parse(line))).toEqual([
      ['a.safetensors', 200],
      ['b.safetensors', 300],
      ['x', 'F32', [2, 3], 0, 100, 124],
      ['y', 'F16', [38], 0, 124, 200],
      ['z', 'U8', [], 1, 299, 300],
    ])
  })

  test.each<[string, Partial<IndexedTensor>]>([
    ['name', { name: 'X' }],
    ['dtype', { dtype: 'I32' satisfies Dtype }],
    ['order of dimensions', { shape: [3, 2] }],
    ['number of dimensions', { shape: [6] }],
    ['further dimension of size one', { shape: [2, 3, 1] }],
    ['first byte', { begin: 99 }],
    ['end', { end: 125 }],
    ['shard', { shard: 1 }],
  ])('changes with the %s of a tensor', (_, change) => {
    const changed = tensors.map((tensor) => (tensor.name === 'x' ? { ...tensor, ...change } : tensor))
    expect(layoutText(tensorIndex(shards, changed))).not.toBe(text)
  })

  test('changes with the name and length of a shard, and with one more or less of anything', () => {
    const layouts = [
      tensorIndex([{ ...shards[0]!, name: 'c.safetensors' }, shards[1]!], tensors),
      tensorIndex([{ ...shards[0]!, byteLength: 201 }, shards[1]!], tensors),
      tensorIndex([shards[0]!, { ...shards[1]!, name: 'bb.safetensors' }], tensors),
      tensorIndex([...shards, { name: 'c', byteLength: 1 }], tensors),
      tensorIndex(shards, tensors.slice(1)),
      tensorIndex(shards, [...tensors, { ...tensors[0]!, name: 'v' }]),
      tensorIndex([], []),
    ].map(layoutText)
    expect(new Set([text, ...layouts]).size).toBe(layouts.length + 1)
  })

  test('is the same of two indices only where they are', () => {
    fc.assert(
      fc.property(indexArbitrary, indexArbitrary, (a, b) => {
        const [one, other] = [tensorIndex(a.shards, a.tensors), tensorIndex(b.shards, b.tensors)]
        expect(layoutText(one) === layoutText(other)).toBe(JSON.stringify(one) === JSON.stringify(other))
      }),
      tries(100),
    )
  })

  test('keeps names apart that look like its own lines', () => {
    const joined = tensorIndex([{ name: 'a",1]\n["b', byteLength: 1 }], [])
    const apart = [
      { name: 'a', byteLength: 1 },
      { name: 'b', byteLength: 1 },
    ]
    expect(layoutText(joined)).not.toBe(layoutText(tensorIndex(apart, [])))
    expect(layoutText(joined).split('\n').length).toBe(1)
  })
})
