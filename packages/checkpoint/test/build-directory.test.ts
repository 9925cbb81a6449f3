import type { Header, TensorInfo } from '@onecopy/safetensors'
import { expect, onTestFinished, test } from 'vitest'
import { buildDirectory, type DirectorySource } from '../src/build-directory.ts'
import { Directory } from '../src/directory.ts'
import { bucketOf, hashName, LAYOUT } from '../src/directory-layout.ts'
import { collidingNames } from './colliding-names.ts'
import { refusal, utf8 } from './support.ts'

function shard(name: string, tensors: readonly (readonly [string, TensorInfo])[], metadata: Header['metadata'] = null) {
  const byteLength = 100 + Math.max(0, ...tensors.map(([, { dataOffsets }]) => dataOffsets[1]))
  const header = { tensors: new Map(tensors), metadata }
  return { name, path: `/models/${name}`, byteLength, dataOffset: 100, header } satisfies DirectorySource
}

function info(dtype: TensorInfo['dtype'], shape: readonly number[], begin: number, end: number): TensorInfo {
  return { dtype, shape, dataOffsets: [begin, end] }
}

const SHARDS = [
  shard('one', [
    ['weight', info('F32', [2, 3], 0, 24)],
    ['größe', info('I64', [], 24, 32)],
  ]),
  shard('two', [['zero', info('U64', [0, 7], 0, 0)]], new Map([['format', 'pt']])),
]

test('buildDirectory() lays the memory out as directory-layout.ts says', () => {
  const buffer = buildDirectory(SHARDS)
  const table = new DataView(buffer)
  const u64 = (at: number): number => Number(table.getBigUint64(at, true))
  const u32 = (at: number): number => table.getUint32(at, true)
  const text = (at: number, length: number): string => Buffer.from(buffer, at, length).toString()

  expect(text(0, 8)).toBe('onecopy\0')
  expect([8, 12, 16, 20].map(u32)).toEqual([2, 3, 2, 4]) // version, tensors, shards, buckets
  const places = [24, 32, 40, 48, 56, 64].map(u64)
  expect(places).toEqual([112, 232, 264, 288, 312, 440])
  const [records, shapes, buckets, entries, shards, names] = places as [number, number, number, number, number, number]
  expect(u64(96)).toBe(buffer.byteLength)
  expect(u64(104)).toBe(32) // bytes of all tensors
  expect(JSON.parse(text(u64(80), u64(88)))).toEqual([null, [['format', 'pt']]])

  const second = records + 40
  expect([u64(second), u64(second + 8)]).toEqual([124, 8]) // first byte in the file, length
  expect(text(names + u32(second + 16), u32(second + 20))).toBe('größe')
  expect([24, 28, 32].map((field) => u32(second + field))).toEqual([0, 2, 0]) // shard, shape, rank
  expect([0, 8, 16, 24].map((at) => table.getFloat64(shapes + at, true))).toEqual([2, 3, 0, 7])

  const last = shards + 64
  expect([u64(last), u64(last + 8), u32(last + 32), u32(last + 36)]).toEqual([100, 100, 2, 1])
  expect(text(names + u32(last + 16), u32(last + 20))).toBe('two')
  expect(text(names + u32(last + 24), u32(last + 28))).toBe('/models/two')

  const hashes = ['weight', 'größe', 'zero'].map((name) => hashName(utf8(name), 0, utf8(name).length))
  const byHash = [...hashes.entries()].sort(([, one], [, other]) => one - other)
  expect(byHash.map((_, at) => [u32(entries + at * 8 + 4), u32(entries + at * 8)])).toEqual(byHash)
  const starts = [0, 1, 2, 3, 4].map((bucket) => byHash.filter(([, hash]) => bucketOf(hash, 4) < bucket).length)
  expect(starts.map((_, bucket) => u32(buckets + bucket * 4))).toEqual(starts)
})

test('buildDirectory() lays out a checkpoint without shards and one without tensors', () => {
  for (const shards of [[], [shard('empty', [])]]) {
    const directory = new Directory(buildDirectory(shards))
    expect(directory.names).toEqual([])
    expect(directory.shards).toHaveLength(shards.length)
    expect(directory.find('')).toBe(-1)
  }
})

test('buildDirectory() refuses a name that comes twice', async () => {
  const [a, b] = [info('U8', [1], 0, 1), info('U8', [1], 1, 2)]
  const one = shard('one', [
    ['größe', a],
    ['b', b],
  ])
  const error = await refusal(() => buildDirectory([one, shard('two', [['größe', a]])]))
  expect(error).toMatchObject({ code: 'TENSOR_IN_TWO_SHARDS', tensor: 'größe' })
  // Names that only share their hash are two.
  const colliding = shard(
    'three',
    ['costarring', 'liquid', ''].map((name) => [name, info('U8', [0], 0, 0)]),
  )
  expect(new Directory(buildDirectory([colliding])).names).toEqual(['costarring', 'liquid', ''])
})

test.each([
  ['1960-01-01T00:00:00Z and 1 ns', -315_619_200n * 10n ** 9n + 1n],
  ['just before 1970', -1n],
  ['the last time of 64 bits of seconds', (2n ** 63n - 1n) * 10n ** 9n + 999_999_999n],
  ['the first', -(2n ** 63n) * 10n ** 9n],
])('buildDirectory() keeps a time of modification: %s', (_, modifiedNs) => {
  const directory = new Directory(buildDirectory([{ ...SHARDS[0]!, modifiedNs, inode: 2n ** 64n - 1n }]))
  expect(directory.shards[0]).toMatchObject({ modifiedNs, inode: 2n ** 64n - 1n })
})

test('buildDirectory() compares names of one hash n log n times, and every one of them is found', () => {
  const names = collidingNames(2 ** 13)
  expect(new Set(names.map((name) => hashName(utf8(name), 0, name.length))).size).toBe(1)
  const source = shard(
    'one',
    names.map((name) => [name, info('U8', [0], 0, 0)]),
  )
  const { compare } = Buffer.prototype
  onTestFinished(() => void Object.assign(Buffer.prototype, { compare }))
  let compared = 0
  Buffer.prototype.compare = function (this: Buffer, ...places: Parameters<Buffer['compare']>) {
    compared++
    return compare.apply(this, places)
  }
  const directory = new Directory(buildDirectory([source]))
  expect(compared).toBeGreaterThan(names.length)
  expect(compared).toBeLessThan(2 * names.length * Math.log2(names.length))
  expect(names.map((name) => directory.find(name))).toEqual([...names.keys()])
  expect(directory.find(`${names[0]}x`)).toBe(-1)
})

test('hashName() is FNV-1a', () => {
  // From the test vectors of the algorithm's authors.
  const vectors: Readonly<Record<string, number>> = { '': 0x811c9dc5, a: 0xe40c292c, foobar: 0xbf9cf968 }
  for (const [text, hash] of Object.entries(vectors)) expect(hashName(utf8(text), 0, text.length)).toBe(hash)
})

test('LAYOUT has its sections at multiples of 8 bytes', () => {
  const { header, record, shard, dimension } = LAYOUT
  for (const { byteLength } of [header, record, shard, dimension]) expect(byteLength % 8).toBe(0)
})
