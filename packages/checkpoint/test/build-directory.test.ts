import type { Header, TensorInfo } from '@onecopy/safetensors'
import { expect, test } from 'vitest'
import { buildDirectory, type DirectorySource } from '../src/build-directory.ts'
import { Directory } from '../src/directory.ts'
import { hashName, LAYOUT } from '../src/directory-layout.ts'
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
  expect([8, 12, 16, 20].map(u32)).toEqual([1, 3, 2, 8]) // version, tensors, shards, slots
  const [records, shapes, slots, shards, names] = [24, 32, 40, 48, 56].map(u64) as [
    number,
    number,
    number,
    number,
    number,
  ]
  expect([records, shapes, slots, shards, names]).toEqual([104, 248, 280, 312, 424])
  expect(u64(88)).toBe(buffer.byteLength)
  expect(u64(96)).toBe(32) // bytes of all tensors
  expect(JSON.parse(text(u64(72), u64(80)))).toEqual([null, [['format', 'pt']]])

  const second = records + 48
  expect([u64(second), u64(second + 8)]).toEqual([124, 8]) // first byte in the file, length
  expect(text(names + u32(second + 16), u32(second + 20))).toBe('größe')
  const bytes = utf8('größe')
  expect(u32(second + 24)).toBe(hashName(bytes, 0, bytes.length))
  expect([28, 32, 36, 44].map((field) => u32(second + field))).toEqual([0, 2, 0, 0]) // shard, shape, rank, reserved
  expect([0, 8, 16, 24].map((at) => table.getFloat64(shapes + at, true))).toEqual([2, 3, 0, 7])

  const last = shards + 56
  expect([u64(last), u64(last + 8), u32(last + 32), u32(last + 36)]).toEqual([100, 100, 2, 1])
  expect(text(names + u32(last + 16), u32(last + 20))).toBe('two')
  expect(text(names + u32(last + 24), u32(last + 28))).toBe('/models/two')

  const filled = Array.from({ length: 8 }, (_, slot) => u32(slots + slot * 4)).filter((slot) => slot !== 0)
  expect(filled.sort()).toEqual([1, 2, 3])
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

test('hashName() is FNV-1a', () => {
  // From the test vectors of the algorithm's authors.
  const vectors: Readonly<Record<string, number>> = { '': 0x811c9dc5, a: 0xe40c292c, foobar: 0xbf9cf968 }
  for (const [text, hash] of Object.entries(vectors)) expect(hashName(utf8(text), 0, text.length)).toBe(hash)
})

test('LAYOUT has its sections at multiples of 8 bytes', () => {
  const { header, record, shard, dimension } = LAYOUT
  for (const { byteLength } of [header, record, shard, dimension]) expect(byteLength % 8).toBe(0)
})
