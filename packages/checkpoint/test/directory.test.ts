import { DTYPE_NAMES, type TensorInfo } from '@onecopy/safetensors'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tries } from '../../../test/many-inputs.ts'
import { buildDirectory } from '../src/build-directory.ts'
import { Directory } from '../src/directory.ts'
import { hashName, LAYOUT } from '../src/directory-layout.ts'
import { noise, refusal, utf8 } from './support.ts'

function directoryOf(shards: readonly ReadonlyMap<string, TensorInfo>[], dataOffset = 100): Directory {
  const sources = shards.map((tensors, at) => {
    const end = [...tensors.values()].reduce((most, { dataOffsets }) => Math.max(most, dataOffsets[1]), 0)
    const file = { name: `s${at}`, path: `/s${at}`, byteLength: dataOffset + end, dataOffset }
    return { ...file, header: { tensors, metadata: null } }
  })
  return new Directory(buildDirectory(sources))
}

function named(names: readonly string[]): Directory {
  return directoryOf([new Map(names.map((name, at) => [name, info(at)]))])
}

/** A tensor that no other number gives. */
function info(at: number): TensorInfo {
  return { dtype: DTYPE_NAMES[at % DTYPE_NAMES.length]!, shape: [at, 0, 3], dataOffsets: [at, at] }
}

// Names that FNV-1a cannot tell apart, names that objects have already, and names that are nearly the same.
const COLLIDING = ['costarring', 'liquid', 'declinate', 'macallums', 'altarage', 'zinke', 'altarages', 'zinkes']
const ODD = [
  '',
  '__proto__',
  'constructor',
  'toString',
  '\0',
  'a\0',
  'a',
  'a\0b',
  '\ufffd',
  '\u{1f600}',
  'ä',
  'a\u0308',
]

const anyName = fc.oneof(
  fc.constantFrom(...COLLIDING, ...ODD),
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ unit: 'grapheme', maxLength: 20 }),
  fc.integer({ min: 9_990, max: 10_010 }).map((length) => 'x'.repeat(length)),
  fc.nat({ max: 300 }).map((layer) => `model.layers.${layer}.weight`),
)

describe('Directory.find()', () => {
  test('gives every name its own entry and no other name one, whatever the names', () => {
    const property = fc.property(fc.uniqueArray(anyName, { maxLength: 60 }), fc.array(anyName), (names, others) => {
      const directory = named(names)
      expect(directory.names).toEqual(names)
      for (const [at, name] of names.entries()) {
        const record = directory.find(name)
        expect(directory.nameOf(record)).toBe(name)
        const { dtype, shape, dataOffsets } = info(at)
        expect(directory.entry(record)).toEqual({ shard: 0, dtype, shape, begin: 100 + at, end: 100 + dataOffsets[1] })
      }
      for (const other of others) expect(directory.find(other) >= 0).toBe(names.includes(other))
    })
    fc.assert(property, tries(100))
  })

  test('tells names apart that have one hash', () => {
    const hashes = COLLIDING.map((name) => hashName(utf8(name), 0, name.length))
    expect(new Set(hashes).size).toBe(COLLIDING.length / 2)
    const firsts = COLLIDING.filter((_, at) => at % 2 === 0)
    const directory = named(firsts)
    expect(COLLIDING.map((name) => directory.find(name))).toEqual([0, -1, 1, -1, 2, -1, 3, -1])
    expect(COLLIDING.map((name) => named(COLLIDING).find(name))).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  })

  test('does not take a lone surrogate for the replacement character', () => {
    const directory = named(['\ufffd', 'a\ufffd', '\u{1f600}'])
    expect(directory.find('\ufffd')).toBe(0)
    for (const name of ['\ud800', '\udc00', 'a\ud83d', '\ude00\ud83d']) expect(directory.find(name)).toBe(-1)
    expect(directory.find('\ud83d\ude00')).toBe(2)
  })

  test('finds a name after one that is longer than any in it', () => {
    const directory = named(['a'])
    expect(directory.find('ü'.repeat(1_000_000))).toBe(-1)
    expect(directory.find('a')).toBe(0)
  })
})

test('Directory.computeFingerprint() is the fingerprint, also of a directory that is hashed in many steps', async () => {
  const names = Array.from({ length: 30_000 }, (_, at) => `model.layers.${at}.weight`)
  const [directory, other] = [named(names), named(names)]
  expect(directory.buffer.byteLength).toBeGreaterThan(2 * 2 ** 20)
  const both = [directory.computeFingerprint(), directory.computeFingerprint()]
  expect(await Promise.all(both)).toEqual([other.fingerprint, other.fingerprint])
  expect(directory.fingerprint).toBe(other.fingerprint)
  expect(await named(['a']).computeFingerprint()).toBe(named(['a']).fingerprint)
})

test('Directory.shardOf() tells the shard of every record', () => {
  const shards = [['a', 'b'], [], ['c']].map((names) => new Map(names.map((name, at) => [name, info(at)])))
  const directory = directoryOf(shards)
  expect(directory.names.map((name) => directory.shardOf(directory.find(name)))).toEqual([0, 0, 2])
})

test('Directory.tensorRanges() tells where the tensors of a shard stand in its file', () => {
  const directory = directoryOf(
    [['a', 'b'], [], ['c']].map((names) => new Map(names.map((name, at) => [name, info(at)]))),
  )
  const ranges = [0, 1, 2].map((shard) => directory.tensorRanges(shard))
  expect(ranges.map(({ length }) => length)).toEqual([2, 0, 1])
  for (const [at, name] of ['a', 'b', 'c'].entries()) {
    const { begin, end } = directory.entry(directory.find(name))
    expect(ranges.flat()[at]).toEqual({ begin, end })
  }
})

describe('Directory.entry()', () => {
  test.each([
    [2 ** 32 - 1, 2 ** 32 + 1],
    [2 ** 32, 2 ** 33 + 3],
    [2 ** 53 - 3, 2 ** 53 - 1],
    [1, 2 ** 53 - 1],
  ])('is exact for the bytes from %i to %i', (begin, end) => {
    const tensors = new Map([['a', { dtype: 'U8', shape: [end - begin], dataOffsets: [begin, end] } as const]])
    const directory = directoryOf([tensors], 0)
    expect(directory.entry(0)).toMatchObject({ begin, end, shape: [end - begin] })
    expect(directory.shards[0]).toMatchObject({ byteLength: end, dataOffset: 0, tensorCount: 1 })
    expect(directory.tensorBytes).toBe(end - begin)
  })

  test('knows every dtype and the shard', () => {
    const shards = DTYPE_NAMES.map((dtype) => new Map([[dtype, { dtype, shape: [0], dataOffsets: [0, 0] as const }]]))
    const directory = directoryOf(shards)
    const entries = DTYPE_NAMES.map((name) => directory.entry(directory.find(name)))
    expect(entries.map(({ dtype }) => dtype)).toEqual(DTYPE_NAMES)
    expect(entries.map(({ shard }) => shard)).toEqual([...DTYPE_NAMES.keys()])
  })
})

test('new Directory() over another thread’s copy of the reference reads the same', () => {
  const directory = named(['a', 'b'])
  const same = new Directory(structuredClone(directory.buffer))
  expect(same.buffer.byteLength).toBe(directory.buffer.byteLength)
  expect(same.find('b')).toBe(1)
})

test('Directory.find() comes to an end whatever the memory holds', () => {
  const good = named(COLLIDING).buffer
  for (let round = 0; round < 300; round++) {
    const copy = good.slice(0)
    const bytes = noise(copy.byteLength - LAYOUT.header.byteLength, round)
    new Uint8Array(copy, LAYOUT.header.byteLength).set(bytes)
    const directory = new Directory(copy)
    for (const name of COLLIDING) directory.find(name)
  }
})

describe('new Directory() refuses', () => {
  const good = named(['a', 'b', 'c']).buffer

  function changed(change: (table: DataView) => void): SharedArrayBuffer {
    const copy = good.slice(0)
    change(new DataView(copy))
    return copy
  }

  test.each<[condition: string, memory: SharedArrayBuffer]>([
    ['no memory at all', new SharedArrayBuffer(0)],
    ['memory that is shorter than a header', good.slice(0, 64)],
    ['zeros', new SharedArrayBuffer(1000)],
    ['foreign bytes', changed((table) => table.setUint8(3, 0))],
    ['a later version', changed((table) => table.setUint32(LAYOUT.header.version, 3, true))],
    ['memory that was cut', good.slice(0, good.byteLength - 8)],
    ['a length that is no multiple of 4', good.slice(0, good.byteLength - 1)],
    ['more tensors than records', changed((table) => table.setUint32(LAYOUT.header.tensorCount, 4, true))],
    ...[0, 1, 3].map((count): [string, SharedArrayBuffer] => [
      `${count} buckets, which is no power of two above 1`,
      changed((table) => table.setUint32(LAYOUT.header.bucketCount, count, true)),
    ]),
    ['more buckets than there are', changed((table) => table.setUint32(LAYOUT.header.bucketCount, 2 ** 31, true))],
    ['sections at odd places', changed((table) => table.setUint32(LAYOUT.header.bucketsOffset, 301, true))],
    ['a section beyond the end', changed((table) => table.setUint32(LAYOUT.header.namesOffset + 4, 1, true))],
  ])('%s', async (_, memory) => {
    expect(await refusal(() => new Directory(memory))).toMatchObject({
      name: 'CheckpointError',
      code: 'DIRECTORY_INVALID',
    })
  })
})
