import { mkdirSync, symlinkSync } from 'node:fs'
import { basename, join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, test } from 'vitest'
import { openCheckpoint } from '../src/index.ts'
import { type CheckpointSource, type LocateOptions, locateFiles } from '../src/locate-files.ts'
import { bytesOf, fileOf, refusal, temporaryFolder, tensor, write, writeIndex } from './support.ts'

const A = tensor('a')
const FILE = fileOf([A])

/** The shards, or the index, that a source leads to. */
async function located(source: CheckpointSource, options?: LocateOptions): Promise<readonly string[]> {
  const files = await locateFiles(source, options)
  return 'indexPath' in files ? [files.indexPath] : files.shardPaths
}

/** Puts files into a folder and says which are taken. */
async function locateAmong(names: readonly string[], options?: LocateOptions): Promise<string[]> {
  const folder = temporaryFolder()
  for (const name of names) {
    write(folder, name, name.endsWith('.json') ? '' : FILE)
  }
  return (await located(folder, options)).map((path) => basename(path))
}

describe('locateFiles() takes', () => {
  test('a file by its absolute and its relative path', async () => {
    const path = write(temporaryFolder(), 'x.safetensors', FILE)
    const expected = { label: path, shardPaths: [path] }
    expect(await locateFiles(path)).toEqual(expected)
    expect(await locateFiles(relative(process.cwd(), path))).toEqual(expected)
  })

  test('a file URL as a string and as an object', async () => {
    const path = write(temporaryFolder(), 'with space and ü.safetensors', FILE)
    expect(await located(pathToFileURL(path))).toEqual([path])
    expect(await located(pathToFileURL(path).href)).toEqual([path])
  })

  test('a folder, and the index in it', async () => {
    const folder = temporaryFolder()
    const indexPath = write(folder, 'model.safetensors.index.json', '')
    for (const source of [folder, `${folder}/`, indexPath]) {
      expect(await locateFiles(source)).toEqual({ label: indexPath, indexPath })
    }
  })

  test('an index whatever its name', async () => {
    const index = write(temporaryFolder(), 'other.json', '')
    expect(await locateFiles(index)).toEqual({ label: index, indexPath: index })
  })

  test('a list of shards, in its order, paths and URLs alike', async () => {
    const folder = temporaryFolder()
    const [a, b] = [write(folder, 'a.safetensors', FILE), write(folder, 'b.safetensors', FILE)]
    expect(await located([b, pathToFileURL(a).href])).toEqual([b, a])
  })

  test.each([
    [['model.safetensors'], {}, 'model.safetensors'],
    [['diffusion_pytorch_model.safetensors'], {}, 'diffusion_pytorch_model.safetensors'],
    [['adapter_model.safetensors', 'adapter_config.json'], {}, 'adapter_model.safetensors'],
    [['diffusion_pytorch_model.safetensors.index.json'], {}, 'diffusion_pytorch_model.safetensors.index.json'],
    [['model.safetensors', 'model.fp16.safetensors'], {}, 'model.safetensors'],
    [['model.safetensors', 'model.fp16.safetensors'], { variant: 'fp16' }, 'model.fp16.safetensors'],
    [
      ['model.safetensors.index.json', 'model.safetensors.index.fp16.json'],
      { variant: 'fp16' },
      'model.safetensors.index.fp16.json',
    ],
    [
      ['diffusion_pytorch_model.safetensors', 'diffusion_pytorch_model.non_ema.safetensors'],
      { variant: 'non_ema' },
      'diffusion_pytorch_model.non_ema.safetensors',
    ],
    [['model.safetensors', 'consolidated.safetensors'], {}, 'model.safetensors'],
    [['an unusual name.safetensors', 'README.md'], {}, 'an unusual name.safetensors'],
  ] as const)('of a folder with %j and options %j the right file', async (names, options, expected) => {
    expect(await locateAmong(names, options)).toEqual([expected])
  })

  test('the file that the option prefer names where a single file and an index stand together', async () => {
    const names = ['model.safetensors', 'model.safetensors.index.json']
    expect(await locateAmong(names, { prefer: 'single' })).toEqual(['model.safetensors'])
    expect(await locateAmong(names, { prefer: 'index' })).toEqual(['model.safetensors.index.json'])
    expect(await locateAmong(['model.safetensors'], { prefer: 'index' })).toEqual(['model.safetensors'])
  })

  test('a shard and an index that are symlinks, as in the Hugging Face cache', async () => {
    const folder = temporaryFolder()
    for (const name of ['blobs', 'snapshots']) mkdirSync(join(folder, name))
    const blobs = join(folder, 'blobs')
    const snapshot = join(folder, 'snapshots')
    write(blobs, '0123abc', FILE)
    writeIndex(blobs, { a: 'model-00001-of-00001.safetensors' }, '4567def')
    symlinkSync('../blobs/0123abc', join(snapshot, 'model-00001-of-00001.safetensors'))
    symlinkSync('../blobs/4567def', join(snapshot, 'model.safetensors.index.json'))
    using checkpoint = await openCheckpoint(snapshot)
    expect(bytesOf(checkpoint.tensor('a').buffer)).toEqual(A.bytes)
    expect(checkpoint.shards[0]?.name).toBe('model-00001-of-00001.safetensors')
  })
})

describe('locateFiles() refuses', () => {
  test('a folder with a single file and an index, and names both', async () => {
    const error = await refusal(locateAmong(['model.safetensors', 'model.safetensors.index.json']))
    expect(error.code).toBe('SOURCE_AMBIGUOUS')
    expect(error.candidates).toEqual(['model.safetensors', 'model.safetensors.index.json'])
    expect(error.message).toContain('prefer')
  })

  test('a folder with several unusual names and no index, and lists them', async () => {
    const error = await refusal(locateAmong(['x.safetensors', 'y.safetensors']))
    expect(error.code).toBe('SOURCE_AMBIGUOUS')
    expect(error.candidates).toEqual(['x.safetensors', 'y.safetensors'])
  })

  test('a folder in which one numbered shard of several is all there is', async () => {
    const error = await refusal(locateAmong(['model-00001-of-00003.safetensors']))
    expect(error.code).toBe('SOURCE_AMBIGUOUS')
    expect(error.candidates).toEqual(['model-00001-of-00003.safetensors'])
  })

  test('a folder that has other variants only', async () => {
    const error = await refusal(locateAmong(['model.safetensors'], { variant: 'fp16' }))
    expect(error.code).toBe('SOURCE_AMBIGUOUS')
    expect(error.message).toContain('"fp16"')
  })

  test.each([[[]], [['README.md', 'model.bin']]])('a folder that holds %j', async (names) => {
    expect((await refusal(locateAmong(names))).code).toBe('SOURCE_NOT_FOUND')
  })

  test('a path at which there is nothing, and one that goes through a file', async () => {
    const path = write(temporaryFolder(), 'x.safetensors', FILE)
    for (const missing of [`${path}.none`, join(path, 'below')]) {
      const error = await refusal(locateFiles(missing))
      expect(error).toMatchObject({ code: 'SOURCE_NOT_FOUND', path: missing })
      expect(error.message).toBe(`No checkpoint at "${missing}"`)
    }
  })

  test.each([
    ['https://example.org/model.safetensors'],
    ['s3://bucket/model'],
    ['file://elsewhere/model.safetensors'],
    [''],
    ['a\0b'],
    ['hf:'],
  ])('the source %j, alone and in a list', async (source) => {
    expect((await refusal(locateFiles(source))).code).toBe('SOURCE_INVALID')
    expect((await refusal(locateFiles([source]))).code).toBe('SOURCE_INVALID')
  })

  test('a URL object that is no file', async () => {
    expect((await refusal(locateFiles(new URL('https://example.org/x')))).code).toBe('SOURCE_INVALID')
  })

  test('an empty list, and one that names a file twice', async () => {
    const path = write(temporaryFolder(), 'x.safetensors', FILE)
    expect((await refusal(locateFiles([]))).code).toBe('SOURCE_INVALID')
    const error = await refusal(locateFiles([path, relative(process.cwd(), path)]))
    expect(error).toMatchObject({ code: 'SOURCE_INVALID', path })
  })
})
