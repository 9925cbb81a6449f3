import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { openCheckpoint } from '../src/index.ts'
import { assertIndexUnchanged, readIndexFile } from '../src/read-index.ts'
import {
  expectNothingOpen,
  fileOf,
  rawFile,
  refusal,
  runChild,
  temporaryFolder,
  tensor,
  write,
  writeIndex,
  writeSharded,
} from './support.ts'

const INDEX = 'model.safetensors.index.json'

/** Makes something that is no regular file. */
const MAKE: Readonly<Record<string, (path: string) => void>> = {
  'a folder': (path) => mkdirSync(path),
  'a FIFO': (path) => execFileSync('mkfifo', [path]),
  'a link to /dev/zero': (path) => symlinkSync('/dev/zero', path),
  'a link to nothing': (path) => symlinkSync('nothing', path),
  'a link to itself': (path) => symlinkSync(path, path),
}

describe('openCheckpoint() refuses an index that names', () => {
  test.each([
    '../x',
    '/etc/passwd',
    'C:\\x',
    'sub/x.safetensors',
    '..',
    '.',
    '',
    'https://example.org/x.safetensors',
    'file:x',
    'x\0.safetensors',
    'NUL',
  ])('%j', async (shard) => {
    const folder = temporaryFolder()
    const index = writeIndex(folder, { a: shard })
    const error = await refusal(openCheckpoint(folder))
    expect(error).toMatchObject({ code: 'SAFETENSORS_UNSAFE_SHARD_NAME', path: index })
    expect(error.message).toContain(index)
  })

  test.each(Object.entries(MAKE))('%s as a shard, without waiting for it', async (kind, make) => {
    const folder = temporaryFolder()
    const good = write(folder, 'good.safetensors', fileOf([tensor('a')]))
    const path = join(folder, 'bad.safetensors')
    make(path)
    writeIndex(folder, { a: 'good.safetensors', b: 'bad.safetensors' })
    const error = await refusal(openCheckpoint(folder))
    expect(error.code).toBe(kind === 'a link to nothing' ? 'SHARD_NOT_FOUND' : 'SHARD_UNREADABLE')
    expect(error.path).toBe(path)
    expect((await refusal(openCheckpoint([good, path]))).code).toBe(error.code)
    expectNothingOpen(folder)
  })

  test('a shard that is missing', async () => {
    const folder = temporaryFolder()
    const paths = writeSharded(folder, [[tensor('a')], [tensor('b')]])
    rmSync(paths[1]!)
    expect(await refusal(openCheckpoint(folder))).toMatchObject({ code: 'SHARD_NOT_FOUND', path: paths[1] })
    expectNothingOpen(folder)
  })
})

describe('openCheckpoint() refuses as an index', () => {
  test.each(Object.entries(MAKE))('%s', async (kind, make) => {
    const folder = temporaryFolder()
    const path = join(folder, INDEX)
    make(path)
    expect(await refusal(readIndexFile(path))).toMatchObject({ code: 'INDEX_UNREADABLE', path })
    const code = kind === 'a folder' ? 'SOURCE_NOT_FOUND' : 'INDEX_UNREADABLE' // a folder is no file to be found
    expect((await refusal(openCheckpoint(folder))).code).toBe(code)
    expectNothingOpen(folder)
  })

  test('an index that is too long, without reading it', async () => {
    const path = write(temporaryFolder(), INDEX, '')
    execFileSync('truncate', ['-s', '10G', path])
    expect(await refusal(readIndexFile(path))).toMatchObject({ code: 'INDEX_UNREADABLE', path })
  })

  test.each([
    ['', 'SAFETENSORS_INVALID_INDEX'],
    ['{"weight_map": {"a": "x.safetensors"}', 'SAFETENSORS_INVALID_INDEX'],
    ['{"weight_map": {"a": 1}}', 'SAFETENSORS_INVALID_INDEX'],
    ['{"metadata": {}}', 'SAFETENSORS_INVALID_INDEX'],
    ['[]', 'SAFETENSORS_INVALID_INDEX'],
    ['{"weight_map": {"a": "x", "\\u0061": "y"}}', 'SAFETENSORS_DUPLICATE_KEY'],
    ['\ufeff{"weight_map": {}}', 'SAFETENSORS_INVALID_INDEX'],
  ])('the content %j', async (content, code) => {
    const path = write(temporaryFolder(), INDEX, content)
    const error = await refusal(openCheckpoint(path))
    expect(error).toMatchObject({ code, path })
    expect(error.message).toContain(path)
  })
})

describe('readIndexFile()', () => {
  test('gives the text and which state of the file it was', async () => {
    const path = writeIndex(temporaryFolder(), { a: 'y', ä: 'x', c: 'y' })
    const { json, ...state } = await readIndexFile(path)
    expect(Buffer.from(json)).toEqual(readFileSync(path))
    const { ino, mtimeNs, size } = statSync(path, { bigint: true })
    expect(state).toEqual({ path, inode: ino, modifiedNs: mtimeNs, byteLength: Number(size) })
  })
})

describe('openCheckpoint() tells a tensor that stands twice in the index before', () => {
  const TWICE = '{"weight_map": {"a": "x", "a": "y"}}'

  test.each<[what: string, files: Readonly<Record<string, Uint8Array>>]>([
    ['shards that are missing', {}],
    ['a shard that is malformed', { x: fileOf([tensor('a')]), y: rawFile('[]') }],
    ['tensors that stand elsewhere', { x: fileOf([tensor('b')]), y: fileOf([]) }],
    ['nothing else that is wrong', { x: fileOf([tensor('a')]), y: fileOf([]) }],
  ])('%s', async (_, files) => {
    const folder = temporaryFolder()
    const path = write(folder, INDEX, TWICE)
    for (const [name, bytes] of Object.entries(files)) write(folder, name, bytes)
    expect(await refusal(openCheckpoint(folder))).toMatchObject({ code: 'SAFETENSORS_DUPLICATE_KEY', path })
    expectNothingOpen(folder)
  })
})

describe('assertIndexUnchanged() refuses an index that was', () => {
  test.each<[how: string, change: (path: string) => void]>([
    ['removed', (path) => rmSync(path)],
    ['written to', (path) => writeFileSync(path, '{"weight_map": {"b": "y"}}  ')],
    ['touched', (path) => utimesSync(path, 1, 1)],
  ])('%s', async (_, change) => {
    const path = writeIndex(temporaryFolder(), { a: 'x' })
    const index = await readIndexFile(path)
    await assertIndexUnchanged(index)
    change(path)
    expect(await refusal(assertIndexUnchanged(index))).toMatchObject({ code: 'CHECKPOINT_CHANGED', path })
  })
})

test('openCheckpoint() opens an index of 500,000 entries over a few shards', async () => {
  const folder = temporaryFolder()
  const [entries, shards] = [500_000, 4]
  const weightMap: Record<string, string> = {}
  for (let shard = 0; shard < shards; shard++) {
    const names = Array.from({ length: entries / shards }, (_, at) => `layers.${shard}.experts.${at}.weight`)
    for (const name of names) weightMap[name] = `${shard}.safetensors`
    // Tensors without elements: half a million of them in a few bytes each, all at one place.
    const members = names.map((name) => `"${name}":{"dtype":"F32","shape":[0,${shard}],"data_offsets":[0,0]}`)
    write(folder, `${shard}.safetensors`, rawFile(`{${members.join(',')}}`))
  }
  writeIndex(folder, weightMap)
  using checkpoint = await openCheckpoint(folder)
  expect(checkpoint.tensorCount).toBe(entries)
  expect(checkpoint.tensor('layers.3.experts.124999.weight')).toMatchObject({ shape: [0, 3], byteLength: 0 })
  expect(checkpoint.tensor('layers.0.experts.0.weight').shape).toEqual([0, 0])
  expect(checkpoint.has('layers.0.experts.125000.weight')).toBe(false)
  expect(checkpoint.names[250_000]).toBe('layers.2.experts.0.weight')
})

describe('openCheckpoint() as a user who may not read', () => {
  test.each([
    ['a shard', 'model-00002-of-00002.safetensors', 'SHARD_UNREADABLE'],
    ['the index', INDEX, 'INDEX_UNREADABLE'],
  ])('%s refuses with the path', async (_, name, code) => {
    const folder = temporaryFolder()
    writeSharded(folder, [[tensor('a')], [tensor('b')]])
    chmodSync(folder, 0o755)
    expect((await runChild('open-as-other-user.mjs', [folder])).value).toEqual({ tensors: ['a', 'b'] })
    chmodSync(join(folder, name), 0)
    const { value } = await runChild('open-as-other-user.mjs', [folder])
    expect(value).toMatchObject({ error: { code, path: join(folder, name) }, mappings: 0 })
  })

  test('the folder refuses with SOURCE_NOT_FOUND', async () => {
    const folder = temporaryFolder()
    writeSharded(folder, [[tensor('a')]])
    chmodSync(folder, 0o711)
    const { value } = await runChild('open-as-other-user.mjs', [folder])
    expect(value).toMatchObject({ error: { code: 'SOURCE_NOT_FOUND', path: folder } })
  })
})
