import { existsSync, fstatSync, readFileSync, rmSync, statSync, utimesSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { serializeShardIndex } from '@onecopy/safetensors'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tries } from '../../../test/many-inputs.ts'
import { openCheckpoint } from '../src/index.ts'
import { closeShards } from '../src/open-shard.ts'
import { readQuickly } from '../src/read-quickly.ts'
import { collidingNames } from './colliding-names.ts'
import {
  agrees,
  anyName,
  type Entry,
  entriesOf,
  INDEX,
  indexJson,
  inFolder,
  plainName,
  quickly,
  shardsOf,
} from './quick-and-strict.ts'
import {
  descriptorsIn,
  expectNothingOpen,
  fileOf,
  HAS_ADDON,
  type RawTensor,
  refusal,
  temporaryFolder,
  tensor,
  write,
  writeSharded,
} from './support.ts'

describe.runIf(HAS_ADDON)('readQuickly() is byte for byte what the strict parsers make', () => {
  test('for random checkpoints with plain names, and is always had', async () => {
    const form = fc.constantFrom('compact', 'python', null)
    const metadata = fc.option(fc.dictionary(plainName, plainName, { maxKeys: 3 }))
    const property = fc.asyncProperty(
      shardsOf(plainName),
      form,
      metadata,
      fc.nat(9),
      async (shards, how, note, padding) => {
        const entries = entriesOf(shards)
        const python = serializeShardIndex({ weightMap: new Map(entries), totalSize: 3 })
        const { folder, source } = inFolder(
          shards,
          how === null ? null : how === 'python' ? python : indexJson(entries),
        )
        if (shards[0] !== undefined) {
          write(folder, 'x0', fileOf(shards[0], { padding, ...(note !== null && { metadata: note }) }))
        }
        fc.pre(how !== null || shards.length > 0)
        expect(await agrees(source)).toEqual({ quick: true, code: 'ok' })
        expectNothingOpen(folder)
        rmSync(folder, { recursive: true })
      },
    )
    await fc.assert(property, tries(40))
  })

  test('for random checkpoints with any names, some of which are left to the strict parsers', async () => {
    let taken = 0
    const named = fc.oneof(shardsOf(plainName), shardsOf(anyName))
    const property = fc.asyncProperty(named, fc.boolean(), async (shards, indexed) => {
      fc.pre(shards.length > 0)
      const { folder, source } = inFolder(shards, indexed ? indexJson(entriesOf(shards)) : null)
      const { quick, code } = await agrees(source)
      expect(code).toBe('ok')
      if (quick) taken++
      rmSync(folder, { recursive: true })
    })
    await fc.assert(property, tries(40))
    expect(taken).toBeGreaterThan(3)
  })
})

describe.runIf(HAS_ADDON)('openCheckpoint() takes files with a time of modification', () => {
  test.each(['1901-12-14', '1960-01-01', '1969-12-31T23:59:59.750Z', '2200-01-01', '2300-01-01'])(
    'of %s',
    async (day) => {
      const { paths, source } = inFolder(
        [[tensor('a')], [tensor('b')]],
        indexJson(entriesOf([[tensor('a')], [tensor('b')]])),
      )
      for (const path of [...paths, String(source)]) utimesSync(path, new Date(), new Date(day))
      const expected = BigInt(new Date(day).getTime()) * 10n ** 6n
      expect(statSync(paths[0]!, { bigint: true }).mtimeNs).toBe(expected)
      expect(await agrees(source)).toEqual({ quick: true, code: 'ok' })
      using checkpoint = await openCheckpoint(String(source))
      expect(checkpoint.shards.map(({ modifiedNs }) => modifiedNs)).toEqual([expected, expected])
      // The strict parsers tell the same.
      write(
        dirname(String(source)),
        INDEX,
        indexJson([
          ['a', 'x0'],
          ['b', 'x1'],
        ]).replace('"a"', '"\\u0061"'),
      )
      using strict = await openCheckpoint(String(source))
      expect(strict.shards.map(({ modifiedNs }) => modifiedNs)).toEqual([expected, expected])
      expect(strict.fingerprint).toBe(checkpoint.fingerprint)
    },
  )
})

test.runIf(HAS_ADDON)('readQuickly() and the strict parsers agree on many names of one hash', async () => {
  const tensors = collidingNames(2 ** 11).map((name) => tensor(name, 'U8', [0]))
  const entries = entriesOf([tensors])
  expect(await agrees(inFolder([tensors], indexJson(entries.toReversed())).source)).toEqual({ quick: true, code: 'ok' })
  const twice = [...tensors, tensors[77]!]
  const code = 'SAFETENSORS_DUPLICATE_KEY'
  expect(await agrees(inFolder([twice], null).source)).toEqual({ quick: false, code })
})

const REAL = fileURLToPath(new URL('../../../../shared/fixtures/real/', import.meta.url))
const EXPECTED = join(REAL, 'expected.json')

describe.skipIf(!existsSync(EXPECTED))('readQuickly() agrees with the strict parsers about', () => {
  const files: string[] = existsSync(EXPECTED) ? Object.keys(JSON.parse(readFileSync(EXPECTED, 'utf8'))) : ['(none)']

  test.each(files)('the published file %s', async (file) => {
    expect((await agrees([join(REAL, file)])).code).toBe('ok')
  })

  test('the published shards', async () => {
    expect((await agrees(join(REAL, 'safetensors-jl-sharded', INDEX))).code).toBe('ok')
  })

  test.runIf(HAS_ADDON)('published files, all of which it takes', async () => {
    const taken = await Promise.all(files.map((file) => quickly([join(REAL, file)])))
    expect(files.filter((_, at) => taken[at] === null)).toEqual([])
  })
})

/** One thing that is wrong. */
type Fault = (shards: RawTensor[][], entries: Entry[], at: number) => void

const pick = <Item>(list: readonly Item[], at: number): Item => list[at % list.length]!

const FAULTS: readonly Fault[] = [
  (_, entries, at) => void entries.splice(at % entries.length, 1),
  (_, entries, at) => void entries.push(pick(entries, at)),
  (shards, entries, at) => void entries.push([pick(entries, at)[0], `x${(at >> 3) % shards.length}`]),
  (shards, entries, at) =>
    void entries.splice(at % entries.length, 1, [pick(entries, at)[0], `x${(at >> 3) % shards.length}`]),
  (_, entries, at) => void entries.push(['missing', pick(entries, at)[1]]),
  (shards, _, at) => void pick(shards, at).push(tensor('extra')),
  (shards, _, at) => void pick(shards, at).push(pick(shards.flat(), at >> 3)),
  (shards, _, at) => void shards.push([tensor('extra'), pick(shards.flat(), at)]),
  (shards, _, at) => void pick(shards, at).splice(at >> 3, 1),
  (shards, _, at) => void pick(shards, at).splice(0, 99, tensor('foreign')),
]

test('openCheckpoint() refuses random disagreements of index and shards as crossCheck() alone does', async () => {
  const codes = new Set<string>()
  const faults = fc.array(fc.tuple(fc.constantFrom(...FAULTS), fc.nat(63)), { maxLength: 2 })
  const names = fc.oneof({ weight: 4, arbitrary: plainName }, anyName)
  const property = fc.asyncProperty(shardsOf(names), faults, fc.boolean(), async (shards, wrong, indexed) => {
    fc.pre(shards.length > 0)
    const entries = entriesOf(shards)
    for (const [fault, at] of wrong) if (entries.length > 0 && shards.flat().length > 0) fault(shards, entries, at)
    const { folder, source } = inFolder(shards, indexed ? indexJson(entries) : null)
    const { code } = await agrees(source)
    codes.add(code)
    expectNothingOpen(folder)
    rmSync(folder, { recursive: true })
  })
  await fc.assert(property, tries(60))
  expect(codes.size).toBeGreaterThan(3)
})

const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((name) => tensor(name)) as [RawTensor, RawTensor, RawTensor, RawTensor]

describe('openCheckpoint() refuses, with plain names and with others,', () => {
  test.each<[what: string, code: string, shards: RawTensor[][], entries: Entry[]]>([
    ['a name that no shard has', 'TENSOR_IN_NO_SHARD', [[a], [b]], [...entriesOf([[a], [b]]), ['c', 'x0']]],
    ['a name in the other shard', 'TENSOR_IN_OTHER_SHARD', [[a], [b, c]], entriesOf([[a, c], [b]])],
    ['two names that changed places', 'SHARD_FOREIGN', [[a], [b]], entriesOf([[b], [a]])],
    ['a name twice in the index', 'SAFETENSORS_DUPLICATE_KEY', [[a], [b]], [...entriesOf([[a], [b]]), ['b', 'x1']]],
    [
      'a name twice in the index instead of another',
      'SAFETENSORS_DUPLICATE_KEY',
      [[a, c], [b]],
      entriesOf([[a, a], [b]]),
    ],
    ['a name twice in the index, in two shards', 'SAFETENSORS_DUPLICATE_KEY', [[a], [b]], entriesOf([[a], [b, a]])],
    ['a name in two shards', 'TENSOR_IN_TWO_SHARDS', [[a], [b, a]], entriesOf([[a], [b]])],
    ['a name twice in one shard', 'SAFETENSORS_DUPLICATE_KEY', [[a], [b, b]], entriesOf([[a], [b]])],
    [
      'a name twice in one shard and in the index',
      'SAFETENSORS_DUPLICATE_KEY',
      [[a, a], [b]],
      entriesOf([[a, a], [b]]),
    ],
    [
      'a name twice in the last shard, the first being wrong',
      'SAFETENSORS_DUPLICATE_KEY',
      [[a], [b, b]],
      entriesOf([[c], [b]]),
    ],
    ['a foreign shard', 'SHARD_FOREIGN', [[a], [c, d]], entriesOf([[a], [b]])],
    ['a shard without tensors', 'SHARD_FOREIGN', [[a], []], entriesOf([[a], [b]])],
    ['a tensor that is not in the index', 'TENSOR_NOT_IN_INDEX', [[a, c], [b]], entriesOf([[a], [b]])],
    ['a tensor instead of another', 'TENSOR_IN_NO_SHARD', [[a, c], [b]], entriesOf([[a, d], [b]])],
  ])('%s: %s', async (_, code, shards, entries) => {
    expect(await agrees(inFolder(shards, indexJson(entries)).source)).toEqual({ quick: false, code })
    // With a name that the quick way leaves alone, first in the index and in the first shard.
    const more = [[tensor('é'), ...shards[0]!], ...shards.slice(1)]
    expect((await agrees(inFolder(more, indexJson([['é', 'x0'], ...entries])).source)).quick).toBe(false)
  })

  test.each<[what: string, code: string, shards: RawTensor[][]]>([
    [
      'a name in two shards of a list',
      'TENSOR_IN_TWO_SHARDS',
      [
        [a, b],
        [c, b],
      ],
    ],
    ['a name twice in a single file', 'SAFETENSORS_DUPLICATE_KEY', [[a, a]]],
    ['a name twice in a shard, another in two', 'SAFETENSORS_DUPLICATE_KEY', [[a], [a], [b, b]]],
  ])('%s: %s', async (_, code, shards) => {
    expect(await agrees(inFolder(shards, null).source)).toEqual({ quick: false, code })
  })
})

describe.runIf(HAS_ADDON)('readQuickly() leaves nothing open', () => {
  test.each<[what: string, last: Uint8Array | null]>([
    ['where the last of many shards is missing', null],
    ['where the last of many shards is cut', fileOf([a]).subarray(0, 20)],
    ['where the last of many shards has a tensor of the first', fileOf([tensor('t0')])],
  ])('%s', async (_, last) => {
    const folder = temporaryFolder()
    const paths = Array.from({ length: 80 }, (_, at) => write(folder, `${at}`, fileOf([tensor(`t${at}`)])))
    if (last === null) paths.push(join(folder, 'missing'))
    else paths.push(write(folder, 'last', last))
    expect(await readQuickly({ label: '', shardPaths: paths })).toBeNull()
    expectNothingOpen(folder)
  })

  test.each(['before', 'meanwhile'])('where the signal is aborted %s', async (when) => {
    const folder = temporaryFolder()
    const paths = Array.from({ length: 80 }, (_, at) => write(folder, `${at}`, fileOf([tensor(`t${at}`)])))
    const abort = new AbortController()
    if (when === 'before') abort.abort(new TypeError('enough'))
    const reading = openCheckpoint(paths, { signal: abort.signal })
    abort.abort(new TypeError('enough'))
    expect((await refusal(reading)).message).toBe('enough')
    if (when === 'before') {
      const quick = readQuickly({ label: '', shardPaths: paths }, abort.signal)
      expect((await refusal(quick)).message).toBe('enough')
    }
    expectNothingOpen(folder)
  })

  test('but the shards, in the order of the index, with the state of all files', async () => {
    const folder = temporaryFolder()
    const shards = Array.from({ length: 70 }, (_, at) => [tensor(`t${at}`)])
    const paths = writeSharded(folder, shards.toReversed())
    const indexPath = join(folder, INDEX)
    const read = (await readQuickly({ label: '', indexPath }))!
    expect(read.shards.map(({ path }) => path)).toEqual(paths)
    for (const { descriptor, path, inode, modifiedNs, byteLength } of read.shards) {
      const state = statSync(path, { bigint: true })
      expect([inode, modifiedNs, BigInt(byteLength)]).toEqual([state.ino, state.mtimeNs, state.size])
      expect(fstatSync(descriptor!.number, { bigint: true }).ino).toBe(inode)
    }
    const { ino, mtimeNs, size } = statSync(indexPath, { bigint: true })
    expect(read.index).toEqual({ path: indexPath, inode: ino, modifiedNs: mtimeNs, byteLength: Number(size) })
    expect(descriptorsIn(folder)).toHaveLength(paths.length)
    closeShards(read.shards)
    expectNothingOpen(folder)
  })
})
