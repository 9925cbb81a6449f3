import { existsSync, readFileSync, rmSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  DTYPE_NAMES,
  dtypeBits,
  parseSafetensors,
  parseShardIndex,
  readHeaderLength,
  serializeShardIndex,
} from '@onecopy/safetensors'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { buildDirectory } from '../src/build-directory.ts'
import { crossCheck } from '../src/cross-check.ts'
import { openCheckpoint } from '../src/index.ts'
import { quickDirectory } from '../src/quick-directory.ts'
import { closeShards, readHeaders } from '../src/read-headers.ts'
import { readIndexFile } from '../src/read-index.ts'
import {
  bytesOf,
  expectNothingOpen,
  fileOf,
  type RawTensor,
  type Refusal,
  refusal,
  temporaryFolder,
  tensor,
  write,
} from './support.ts'

const INDEX = 'model.safetensors.index.json'

/** The directory by the strict parsers and `crossCheck` alone. */
function strictly(source: string | readonly string[]): Uint8Array {
  const index = typeof source === 'string' ? parseShardIndex(readFileSync(source)) : null
  const paths = typeof source === 'string' ? index!.shardNames.map((name) => join(dirname(source), name)) : source
  const shards = paths.map((path) => {
    const bytes = readFileSync(path)
    const { ino: inode, mtimeNs: modifiedNs } = statSync(path, { bigint: true })
    const dataOffset = 8 + readHeaderLength(bytes, bytes.byteLength)
    const file = { name: basename(path), path, byteLength: bytes.byteLength, dataOffset, inode, modifiedNs }
    return { ...file, header: parseSafetensors(bytes) }
  })
  crossCheck(index, shards, String(source))
  return bytesOf(buildDirectory(shards))
}

/** The directory by the quick way, null where it is not to be had. */
async function quickly(source: string | readonly string[]): Promise<Uint8Array | null> {
  const index = typeof source === 'string' ? await readIndexFile(source) : null
  if (index !== null && index.flat === null) return null
  const paths = index?.shardNames.map((name) => join(dirname(index.path), name)) ?? (source as readonly string[])
  const shards = await readHeaders(paths)
  closeShards(shards)
  const directory = quickDirectory(shards, index?.flat ?? null)
  return directory && bytesOf(directory.buffer)
}

async function opened(source: string | readonly string[]): Promise<Uint8Array> {
  using checkpoint = await openCheckpoint(source)
  return bytesOf(checkpoint.share().directory)
}

type Outcome = Pick<Refusal, 'code' | 'tensor' | 'message'> | Uint8Array

/** What comes out, the file left out of the messages of SafetensorsErrors, which the strict parsers do not know. */
async function outcomeOf(run: () => Uint8Array | Promise<Uint8Array>): Promise<Outcome> {
  try {
    return await run()
  } catch (error) {
    const { code, tensor, message, name } = error as Refusal
    return { code, message: name === 'SafetensorsError' ? '' : message, ...(tensor !== undefined && { tensor }) }
  }
}

/** Sees to it that everything comes out as without the quick way; whether that was taken, and what came out. */
async function agrees(source: string | readonly string[]): Promise<{ quick: boolean; code: string }> {
  const expected = await outcomeOf(() => strictly(source))
  const quick = await outcomeOf(async () => (await quickly(source)) ?? new Uint8Array())
  const taken = quick instanceof Uint8Array && quick.byteLength > 0
  if (taken) expect(quick).toEqual(expected)
  expect(await outcomeOf(() => opened(source))).toEqual(expected)
  return { quick: taken, code: expected instanceof Uint8Array ? 'ok' : expected.code }
}

type Entry = readonly [tensor: string, shard: string]

/** An index as it is given, doubles included. */
function indexJson(entries: readonly Entry[]): string {
  return `{"weight_map":{${entries.map(([name, shard]) => `${JSON.stringify(name)}:${JSON.stringify(shard)}`).join(',')}}}`
}

function entriesOf(shards: readonly (readonly RawTensor[])[]): Entry[] {
  return shards.flatMap((tensors, at) => tensors.map(({ name }): Entry => [name, `x${at}`]))
}

/** Shards `x0`, `x1`, … in a folder of their own. */
function inFolder(shards: readonly (readonly RawTensor[])[], index: string | Uint8Array | null) {
  const folder = temporaryFolder()
  const paths = shards.map((tensors, at) => write(folder, `x${at}`, fileOf(tensors)))
  return { folder, paths, source: index === null ? paths : write(folder, INDEX, index) }
}

const kind = fc.tuple(fc.constantFrom(...DTYPE_NAMES), fc.array(fc.nat(3), { maxLength: 3 })).map(([dtype, shape]) => {
  const bits = shape.reduce((product, size) => product * size, dtypeBits(dtype))
  return { dtype, shape: bits % 8 === 0 ? shape : [...shape, 4] }
})
const plainName = fc.nat(40).map((at) => (at === 0 ? '' : `layers.${at}. !`))
const anyName = fc.oneof(plainName, fc.string({ unit: 'binary', maxLength: 4 }), fc.constantFrom('__proto__', 'é', '"'))

function shardsOf(name: fc.Arbitrary<string>): fc.Arbitrary<RawTensor[][]> {
  const tensors = fc.uniqueArray(fc.tuple(name, kind, fc.nat(3)), { selector: ([each]) => each, maxLength: 12 })
  return tensors.map((list) => {
    const named = list.filter(([each]) => each !== '__metadata__')
    const shards: RawTensor[][] = [[], [], [], []]
    for (const [each, { dtype, shape }, at] of named) shards[at]!.push(tensor(each, dtype, shape))
    return shards.filter((held) => held.length > 0)
  })
}

describe('quickDirectory() is byte for byte what the strict parsers make', () => {
  test('for random checkpoints with plain names, and is always had', async () => {
    const form = fc.constantFrom('compact', 'python', null)
    const metadata = fc.option(fc.dictionary(anyName, anyName, { maxKeys: 3 }))
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
    await fc.assert(property, { numRuns: 150 })
  })

  test('for random checkpoints with any names, some of whose headers were not read into columns', async () => {
    let taken = 0
    const property = fc.asyncProperty(shardsOf(anyName), fc.boolean(), async (shards, indexed) => {
      fc.pre(shards.length > 0)
      const { folder, source } = inFolder(shards, indexed ? indexJson(entriesOf(shards)) : null)
      const { quick, code } = await agrees(source)
      expect(code).toBe('ok')
      if (!indexed) expect(quick).toBe(true)
      if (quick) taken++
      rmSync(folder, { recursive: true })
    })
    await fc.assert(property, { numRuns: 150 })
    expect(taken).toBeGreaterThan(30)
  })
})

const REAL = fileURLToPath(new URL('../../../../shared/fixtures/real/', import.meta.url))
const EXPECTED = join(REAL, 'expected.json')

describe.skipIf(!existsSync(EXPECTED))('quickDirectory() agrees with the strict parsers about', () => {
  const files: string[] = existsSync(EXPECTED) ? Object.keys(JSON.parse(readFileSync(EXPECTED, 'utf8'))) : ['(none)']

  test.each(files)('the published file %s', async (file) => {
    expect((await agrees([join(REAL, file)])).code).toBe('ok')
  })

  test('the published shards', async () => {
    expect((await agrees(join(REAL, 'safetensors-jl-sharded', INDEX))).code).toBe('ok')
  })

  test('published files, all by way of columns', async () => {
    const paths = files.map((file) => join(REAL, file))
    for (const path of paths) expect(await quickly([path])).not.toBeNull()
    const shards = await readHeaders(paths)
    closeShards(shards)
    expect(shards.filter(({ flat }) => flat === null)).toEqual([])
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
  await fc.assert(property, { numRuns: 400 })
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
    // With a name that is not read into columns, first in the index and in the first shard.
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

describe('quickDirectory()', () => {
  test('does not ask for headers that were read into columns', async () => {
    const { paths, source } = inFolder([[a], [b]], indexJson(entriesOf([[a], [b]])))
    const index = await readIndexFile(source as string)
    const shards = await readHeaders(paths)
    closeShards(shards)
    const unasked = shards.map((shard) =>
      Object.defineProperties({ ...shard }, { header: { get: () => expect.fail('the strict parser was asked') } }),
    )
    expect(quickDirectory(unasked, index.flat)?.names).toEqual(['a', 'b'])
    expect(quickDirectory(unasked, null)?.names).toEqual(['a', 'b'])
    expect(quickDirectory(unasked.slice(1), index.flat)).toBeNull()
    expect(quickDirectory(unasked.toReversed(), index.flat)?.names).toEqual(['b', 'a'])
  })

  test('is not had for a checkpoint whose index and shards disagree, which is refused', async () => {
    const { source } = inFolder([[a], [b]], indexJson(entriesOf([[a], [c]])))
    expect(await quickly(source)).toBeNull()
    expect((await refusal(openCheckpoint(source))).code).toBe('SHARD_FOREIGN')
  })
})
