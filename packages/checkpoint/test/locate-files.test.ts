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
      expect(await locateFiles(source)).toMatchObject({ label: indexPath, indexPath })
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
    [['consolidated.safetensors', 'params.json'], {}, 'consolidated.safetensors'],
    [['pytorch_model.safetensors', 'pytorch_model.bin'], {}, 'pytorch_model.safetensors'],
    [['model-00001-of-00001.safetensors'], {}, 'model-00001-of-00001.safetensors'],
    [['model.safetensors', '._model.safetensors'], {}, 'model.safetensors'],
    [['._model.safetensors', 'other.safetensors'], {}, 'other.safetensors'],
    // The only variant there is.
    [['model.fp16.safetensors'], {}, 'model.fp16.safetensors'],
    [['model.fp16.safetensors', 'x.safetensors'], {}, 'model.fp16.safetensors'],
    [['pytorch_model.fp16.safetensors'], {}, 'pytorch_model.fp16.safetensors'],
    // The three places in which libraries write the variant of an index, and shards to each.
    ...['', 'diffusion_pytorch_'].flatMap((prefix) =>
      [
        ['model.fp16.safetensors.index.json', 'model.fp16-00001-of-00002.safetensors'],
        ['model.safetensors.fp16.index.json', 'model.fp16-00001-of-00002.safetensors'],
        ['model.safetensors.index.fp16.json', 'model-00001-of-00002.fp16.safetensors'],
      ].flatMap(([index, shard]) =>
        [{}, { variant: 'fp16' }].map(
          (options) => [[prefix + index, prefix + shard], options, prefix + index] as const,
        ),
      ),
    ),
  ] satisfies readonly (readonly [readonly string[], LocateOptions, string])[])(
    'of a folder with %j and options %j the right file',
    async (names, options, expected) => {
      expect(await locateAmong(names, options)).toEqual([expected])
    },
  )

  test('an index of an unusual name whose shards are all that there is beside it', async () => {
    const folder = temporaryFolder()
    const indexPath = writeIndex(folder, { a: 'one.safetensors', b: 'two.safetensors' }, 'x.safetensors.index.json')
    for (const name of ['one.safetensors', 'two.safetensors']) write(folder, name, FILE)
    expect(await located(folder)).toEqual([indexPath])
    write(folder, 'three.safetensors', FILE)
    expect((await refusal(located(folder))).code).toBe('SOURCE_AMBIGUOUS')
  })

  test.each(['', 'snapshots'])('the folder of a model in the Hugging Face cache, with %j behind it', async (below) => {
    const model = join(temporaryFolder(), 'models--org--name')
    const snapshot = join(model, 'snapshots', 'abc')
    for (const path of [snapshot, join(model, 'refs')]) mkdirSync(path, { recursive: true })
    write(join(model, 'refs'), 'main', 'abc')
    const path = write(snapshot, 'model.safetensors', FILE)
    expect(await located(join(model, below))).toEqual([path])
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

  test.each(['model-', 'model_', 'consolidated-', 'a b_', 'x.y-'])(
    'a folder in which one shard of several is all there is, called %s00005-of-00072',
    async (start) => {
      const name = `${start}00005-of-00072.safetensors`
      const error = await refusal(locateAmong([name]))
      expect(error).toMatchObject({ code: 'SOURCE_AMBIGUOUS', candidates: [name] })
      expect(error.message).toContain('holds 1 of 72 shards')
      expect(error.message).toContain('missing: numbers 1, 2, 3, 4, 6, 7,')
    },
  )

  test('numbered shards without an index, whole or not, and of two checkpoints', async () => {
    const [one, two] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
    const whole = await refusal(locateAmong([one, two]))
    expect(whole.message).toMatch(/holds 2 shards .*, and not the index .*the list of shards$/)
    const half = await refusal(locateAmong([two]))
    expect(half.message).toMatch(/holds 1 of 2 shards .*missing: number 1$/)
    const mixed = await refusal(locateAmong([one, two, 'model-00001-of-00003.safetensors']))
    expect(mixed.message).toContain('shards of 2 checkpoints')
    for (const { code } of [whole, half, mixed]) expect(code).toBe('SOURCE_AMBIGUOUS')
  })

  test('several variants, and names them to choose from', async () => {
    const names = ['model.fp16.safetensors', 'model.fp32.safetensors.index.json']
    expect((await refusal(locateAmong(names))).message).toMatch(
      /holds several variants; choose with the option variant: "fp16", "fp32"$/,
    )
    expect((await refusal(locateAmong(names, { variant: 'bf16' }))).message).toMatch(
      /holds no checkpoint of variant "bf16"; choose with the option variant: "fp16", "fp32"$/,
    )
  })

  test('an index of one variant in two of its spellings', async () => {
    const names = ['model.fp16.safetensors.index.json', 'model.safetensors.index.fp16.json']
    for (const options of [{}, { variant: 'fp16' }]) {
      const error = await refusal(locateAmong(names, options))
      expect(error).toMatchObject({ code: 'SOURCE_AMBIGUOUS', candidates: names })
    }
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

  test('the name that a model has in the hub, and says how the cache is named', async () => {
    const { code, message } = await refusal(locateFiles('some-org/Some-Model.v1'))
    expect(code).toBe('SOURCE_NOT_FOUND')
    expect(message).toMatch(/; a model in the Hugging Face cache is named hf:some-org\/Some-Model\.v1$/)
    for (const path of ['none/x.safetensors', './none/x', '../x', 'none', 'a/b/none']) {
      expect((await refusal(locateFiles(path))).message).not.toContain('hf:')
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
