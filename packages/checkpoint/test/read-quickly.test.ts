import { existsSync, fstatSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
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
import { closeShards } from '../src/open-shard.ts'
import { readQuickly } from '../src/read-quickly.ts'
import { anyChanges, changed } from './changes.ts'
import {
  bytesOf,
  descriptorsIn,
  expectNothingOpen,
  fileOf,
  headerJson,
  type RawTensor,
  type Refusal,
  rawFile,
  temporaryFolder,
  tensor,
  utf8,
  write,
  writeSharded,
} from './support.ts'

const PLAIN = String.fromCharCode(...Array.from({ length: 95 }, (_, at) => at + 0x20)).replace(/["\\]/g, '')

/** A header of tensors without elements. */
function namesOfEveryLength(most: number): string {
  const names = Array.from({ length: most + 1 }, (_, length) => 'n'.repeat(length))
  return `{${names.map((name) => entry(name, 'U8', '[0]', '[0,0]')).join(',')}}`
}

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
  const read = await readQuickly({
    label: '',
    ...(typeof source === 'string' ? { indexPath: source } : { shardPaths: source }),
  })
  if (read === null) return null
  closeShards(read.shards)
  return bytesOf(read.directory.buffer)
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

describe('readQuickly() is byte for byte what the strict parsers make', () => {
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
    await fc.assert(property, { numRuns: 150 })
  })

  test('for random checkpoints with any names, some of which are left to the strict parsers', async () => {
    let taken = 0
    const property = fc.asyncProperty(shardsOf(anyName), fc.boolean(), async (shards, indexed) => {
      fc.pre(shards.length > 0)
      const { folder, source } = inFolder(shards, indexed ? indexJson(entriesOf(shards)) : null)
      const { quick, code } = await agrees(source)
      expect(code).toBe('ok')
      if (quick) taken++
      rmSync(folder, { recursive: true })
    })
    await fc.assert(property, { numRuns: 150 })
    expect(taken).toBeGreaterThan(3)
  })
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

  test('published files, all of which it takes', async () => {
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

const A = '"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}'
const B = '"b":{"dtype":"BF16","shape":[1,3],"data_offsets":[2,8]}'

function entry(name: string, dtype: string, shape: string, offsets: string): string {
  return `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`
}

/** A file of this header, opened by itself. */
function alone(json: string | Uint8Array, dataByteLength: number) {
  const path = join(temporaryFolder(), 'x')
  writeSparse(path, json, dataByteLength)
  return agrees([path])
}

/** As much data as the header speaks of, none of it on the disk. */
function writeSparse(path: string, json: string | Uint8Array, dataByteLength: number): void {
  const head = rawFile(json)
  writeFileSync(path, head)
  truncateSync(path, head.byteLength + dataByteLength)
}

describe('readQuickly() takes a header with', () => {
  test.each<[condition: string, json: string, dataByteLength: number]>([
    ['no tensor', '{}', 0],
    ['no tensor, padded', '{}      ', 0],
    ['spaces as json.dumps() writes them', `{${A.replaceAll(':', ': ').replaceAll(',', ', ')}}`, 2],
    ['line feeds and tabs', `\n{\n\t${A},\r\n${B} }\n`, 8],
    [
      'a dtype whose name goes on from that of the one before',
      `{${entry('a', 'F8_E4M3', '[]', '[0,1]')},${entry('b', 'F8_E4M3FNUZ', '[]', '[1,2]')}}`,
      2,
    ],
    ['empty metadata', `{"__metadata__":{},${A}}`, 2],
    ['metadata between tensors, with spaces', `{${A},"__metadata__": {"k" : "v", "l":""},${B}}`, 8],
    ['a tensor named like metadata but for the end', `{"__metadata__ ":${A.slice(4)}}`, 2],
    ['a name that is empty', `{"":${A.slice(4)}}`, 2],
    ['a name with every plain character', `{"${PLAIN}":${A.slice(4)}}`, 2],
    ['names of every length up to 40', namesOfEveryLength(40), 0],
    ['names that objects have already', `{"__proto__":${A.slice(4)}}`, 2],
    ['a scalar', '{"a":{"dtype":"F64","shape":[],"data_offsets":[0,8]}}', 8],
    ['a 0 among dimensions', `{${entry('a', 'U8', '[7,0,999999999999999]', '[0,0]')}}`, 0],
    ['many dimensions', `{${entry('a', 'U8', `[1${',1'.repeat(5000)}]`, '[0,1]')}}`, 1],
    ['more bytes than a first read', `{${A}${' '.repeat(200_000)},${B}}`, 8],
  ])('%s', async (_, json, dataByteLength) => {
    expect(await alone(json, dataByteLength)).toEqual({ quick: true, code: 'ok' })
  })
})

describe('readQuickly() leaves to the strict parsers a header with', () => {
  test.each<[condition: string, json: string, dataByteLength: number, code: string]>([
    ['no bytes', '', 0, 'INVALID_HEADER_JSON'],
    ['an object that is not closed', `{${A}`, 2, 'INVALID_HEADER_JSON'],
    ['a comma at the end', `{${A},}`, 2, 'INVALID_HEADER_JSON'],
    ['text behind it', `{${A}} x`, 2, 'INVALID_HEADER_JSON'],
    ['a NUL behind it', `{${A}}\0`, 2, 'INVALID_HEADER_JSON'],
    ['a NUL in a name', `{"a\0":${A.slice(4)}}`, 2, 'INVALID_HEADER_JSON'],
    ['a name that is not closed', '{"a', 0, 'INVALID_HEADER_JSON'],
    ['an unknown dtype', `{${entry('a', 'u8', '[2]', '[0,2]')}}`, 2, 'INVALID_HEADER_JSON'],
    ['a shape that is not closed', '{"a":{"dtype":"U8","shape":[2', 2, 'INVALID_HEADER_JSON'],
    ['offsets that are not closed', '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2', 2, 'INVALID_HEADER_JSON'],
    ['a leading zero', `{${entry('a', 'U8', '[02]', '[0,2]')}}`, 2, 'INVALID_HEADER_JSON'],
    ['a fraction', `{${entry('a', 'U8', '[2.0]', '[0,2]')}}`, 2, 'INVALID_HEADER_JSON'],
    ['minus 0', `{${entry('a', 'U8', '[-0]', '[0,0]')}}`, 0, 'INVALID_HEADER_JSON'],
    ['metadata that are no object', '{"__metadata__":1}', 0, 'INVALID_HEADER_JSON'],
    ['metadata twice', '{"__metadata__":{},"__metadata__":{}}', 0, 'DUPLICATE_KEY'],
    ['a key of metadata twice', '{"__metadata__":{"k":"","l":"","k":""}}', 0, 'DUPLICATE_KEY'],
    ['a hole', `{${entry('a', 'U8', '[2]', '[1,3]')}}`, 3, 'INVALID_OFFSET'],
    ['offsets that go back', `{${A},${entry('b', 'U8', '[0]', '[2,0]')}}`, 0, 'INVALID_OFFSET'],
    ['half a byte', `{${entry('a', 'F4', '[3]', '[0,1]')}}`, 1, 'MISALIGNED_SLICE'],
    ['an overflow', `{${entry('a', 'U8', '[18446744073709551615,2,0]', '[0,0]')}}`, 0, 'VALIDATION_OVERFLOW'],
    ['another length than the shape says', `{${entry('a', 'U8', '[3]', '[0,2]')}}`, 2, 'TENSOR_INVALID_INFO'],
    ['more data than there is', `{${A}}`, 1, 'METADATA_INCOMPLETE_BUFFER'],
    ['less data than there is', `{${A}}`, 3, 'METADATA_INCOMPLETE_BUFFER'],
    ['metadata that are null', '{"__metadata__":null}', 0, 'ok'],
    ['metadata with escapes', `{"__metadata__":{"k":"\\n"},${A}}`, 2, 'ok'],
    ['metadata beyond ASCII', `{"__metadata__":{"é":"ü"},${A}}`, 2, 'ok'],
    ['fields in another order', '{"a":{"shape":[2],"dtype":"U8","data_offsets":[0,2]}}', 2, 'ok'],
    ['a further field', `{${A.replace('}', ',"x":1}')}}`, 2, 'ok'],
    ['tensors in another order than their data', `{${B},${A}}`, 8, 'ok'],
    ['an escape in a name', `{"\\u0061":${A.slice(4)}}`, 2, 'ok'],
    ['an escape in a dtype', `{${A.replace('U8', '\\u00558')}}`, 2, 'ok'],
    ['a name beyond ASCII', `{"é":${A.slice(4)}}`, 2, 'ok'],
    ['a number of 16 digits', `{${entry('a', 'U8', '[0,9007199254740993]', '[0,0]')}}`, 0, 'ok'],
    ['a product above 2^53 that comes to 0', `{${entry('a', 'U8', '[100000000,100000000,0]', '[0,0]')}}`, 0, 'ok'],
  ])('%s: %s', async (_, json, dataByteLength, code) => {
    const expected = code === 'ok' ? code : `SAFETENSORS_${code}`
    expect(await alone(json, dataByteLength)).toEqual({ quick: false, code: expected })
  })

  test.each([
    ['a name', `{"a\xff":${A.slice(4)}}`],
    ['metadata', `{"__metadata__":{"k":"\xff"},${A}}`],
  ])('bytes in %s that are not UTF-8', async (_, latin1) => {
    const expected = { quick: false, code: 'SAFETENSORS_INVALID_HEADER_UTF8' }
    expect(await alone(Buffer.from(latin1, 'latin1'), 2)).toEqual(expected)
  })
})

/** An index over a shard `x` and a shard `y` with a tensor each, `a` and `b`. */
function indexed(json: string | Uint8Array) {
  const folder = temporaryFolder()
  write(folder, 'x', fileOf([a]))
  write(folder, 'y', fileOf([b]))
  return agrees(write(folder, INDEX, json))
}

const WEIGHTS = '"weight_map":{"a":"x","b":"y"}'

describe('readQuickly() takes an index with', () => {
  test.each<[condition: string, json: string]>([
    ['nothing but the map', `{${WEIGHTS}}`],
    ['spaces', ` {\n"weight_map" : {"a" :"x",\t"b": "y" }\t}\r\n`],
    ['metadata in front', `{"metadata":{"total_size":12,"total_parameters":3,"format":"pt"},${WEIGHTS}}`],
    ['metadata behind', `{${WEIGHTS},"metadata":{}}`],
    ...['12.0', '1.2e10', '0', '-1', '0.5E+3', '"12"'].map(
      (size) => [`a total_size of ${size}`, `{"metadata": {"total_size": ${size}}, ${WEIGHTS}}`] as [string, string],
    ),
  ])('%s', async (_, json) => {
    expect(await indexed(json)).toEqual({ quick: true, code: 'ok' })
  })
})

describe('readQuickly() leaves to the strict parsers an index with', () => {
  test.each<[condition: string, json: string, code: string]>([
    ['no bytes', '', 'INVALID_INDEX'],
    ['an array', '[]', 'INVALID_INDEX'],
    ['a byte order mark', `\ufeff{${WEIGHTS}}`, 'INVALID_INDEX'],
    ['no weight_map', '{"metadata":{}}', 'INVALID_INDEX'],
    ['a map that is not closed', '{"weight_map":{"a":"x"', 'INVALID_INDEX'],
    ['a comma at the end', '{"weight_map":{"a":"x",}}', 'INVALID_INDEX'],
    ['a shard that is a number', '{"weight_map":{"a":1}}', 'INVALID_INDEX'],
    ['text behind it', `{${WEIGHTS}} x`, 'INVALID_INDEX'],
    ...['01', '1.', '.5', '1e', '--1', '+1', '1e+', '0x1', 'nul'].map(
      (size) =>
        [`a total_size of ${size}`, `{"metadata":{"total_size":${size}},${WEIGHTS}}`, 'INVALID_INDEX'] as [
          string,
          string,
          string,
        ],
    ),
    ['the map twice', `{${WEIGHTS},${WEIGHTS}}`, 'DUPLICATE_KEY'],
    ['metadata twice', `{"metadata":{},${WEIGHTS},"metadata":{}}`, 'DUPLICATE_KEY'],
    ['a key of metadata twice', `{"metadata":{"k":1,"k":1},${WEIGHTS}}`, 'DUPLICATE_KEY'],
    ['a shard in another folder', '{"weight_map":{"a":"x","b":"../x"}}', 'UNSAFE_SHARD_NAME'],
    ['a shard with an absolute path', '{"weight_map":{"a":"x","b":"/etc/passwd"}}', 'UNSAFE_SHARD_NAME'],
    ['a shard without a name', '{"weight_map":{"a":""}}', 'UNSAFE_SHARD_NAME'],
    ['the folder as a shard', '{"weight_map":{"a":"."}}', 'UNSAFE_SHARD_NAME'],
    ['a dot at the end of a shard', '{"weight_map":{"a":"x."}}', 'UNSAFE_SHARD_NAME'],
    ...['CON', 'nul.safetensors', 'Com7.x', 'lpt0', 'aux.', 'PRN.a.b'].map(
      (name) =>
        [`the device ${name}`, `{"weight_map":{"a":"${name}"}}`, 'UNSAFE_SHARD_NAME'] as [string, string, string],
    ),
    ['a number in metadata that is null', `{"metadata":{"total_size":null},${WEIGHTS}}`, 'ok'],
    ['metadata that are null', `{"metadata":null,${WEIGHTS}}`, 'ok'],
    ['metadata in metadata', `{"metadata":{"k":{}},${WEIGHTS}}`, 'ok'],
    ['an unknown member', `{"z":1,${WEIGHTS}}`, 'ok'],
    ['an escape in a name', '{"weight_map":{"\\u0061":"x","b":"y"}}', 'ok'],
    ['an escape in a shard', '{"weight_map":{"a":"\\u0078","b":"y"}}', 'ok'],
  ])('%s: %s', async (_, json, code) => {
    expect(await indexed(json)).toEqual({ quick: false, code: code === 'ok' ? code : `SAFETENSORS_${code}` })
  })
})

describe('readQuickly() never takes what the strict parsers refuse:', () => {
  const note = '"__metadata__":{"k":"v"}'
  const header = utf8(`{${note},${A},${B},"":{"dtype":"F4","shape":[0],"data_offsets":[8,8]}}  `)
  const index = utf8(`{"metadata":{"total_size":1.0,"k":"v"},${WEIGHTS}}`)
  const replacements = [0x00, 0x0a, 0x1f, 0x20, ...utf8('"\\,:{}[]-019aeU'), 0x7f, 0x80, 0xff]

  /** Every beginning, and the whole with any one byte left out, replaced or put in. */
  function* variantsOf(json: Uint8Array): Generator<Uint8Array> {
    for (let at = 0; at <= json.length; at++) {
      const [before, rest] = [json.subarray(0, at), json.subarray(at)]
      yield before
      yield Buffer.concat([before, rest.subarray(1)])
      for (const byte of replacements) {
        yield Buffer.concat([before, Uint8Array.of(byte), rest])
        yield Buffer.concat([before, Uint8Array.of(byte), rest.subarray(1)])
      }
    }
  }

  /** Whether it was taken; then the strict parsers give the same. */
  async function taken(source: string | readonly string[]): Promise<boolean> {
    const quick = await quickly(source)
    if (quick !== null) expect(quick).toEqual(strictly(source))
    return quick !== null
  }

  test('headers that differ by a byte', async () => {
    const path = join(temporaryFolder(), 'x')
    let count = 0
    for (const json of variantsOf(header)) {
      writeSparse(path, json, 8)
      if (await taken([path])) count++
    }
    expect(count).toBeGreaterThan(100)
  })

  test('indices that differ by a byte', async () => {
    const folder = temporaryFolder()
    write(folder, 'x', fileOf([a]))
    write(folder, 'y', fileOf([b]))
    let count = 0
    for (const json of variantsOf(index)) if (await taken(write(folder, INDEX, json))) count++
    expect(count).toBeGreaterThan(100)
  })

  test('random headers with bytes changed, cut and added', async () => {
    const path = join(temporaryFolder(), 'x')
    let count = 0
    const property = fc.asyncProperty(shardsOf(plainName), anyChanges, async (shards, changes) => {
      const tensors = shards.flat()
      const dataByteLength = tensors.reduce((sum, { bytes }) => sum + bytes.byteLength, 0)
      writeSparse(path, changed(utf8(headerJson(tensors, { format: 'pt' })), changes), dataByteLength)
      if (await taken([path])) count++
    })
    await fc.assert(property, { numRuns: 2000 })
    expect(count).toBeGreaterThan(20)
  })

  test('random indices with bytes changed, cut and added', async () => {
    const folder = temporaryFolder()
    let count = 0
    const property = fc.asyncProperty(shardsOf(plainName), anyChanges, async (shards, changes) => {
      for (const [at, tensors] of shards.entries()) write(folder, `x${at}`, fileOf(tensors))
      if (await taken(write(folder, INDEX, changed(utf8(indexJson(entriesOf(shards))), changes)))) count++
    })
    await fc.assert(property, { numRuns: 1000 })
    expect(count).toBeGreaterThan(0)
  })
})

describe('readQuickly() leaves nothing open', () => {
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
      expect(fstatSync(descriptor, { bigint: true }).ino).toBe(inode)
    }
    const { ino, mtimeNs, size } = statSync(indexPath, { bigint: true })
    expect(read.index).toEqual({ path: indexPath, inode: ino, modifiedNs: mtimeNs, byteLength: Number(size) })
    expect(descriptorsIn(folder)).toHaveLength(paths.length)
    closeShards(read.shards)
    expectNothingOpen(folder)
  })
})
