import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { explainError } from '../src/diagnose/explain-error.ts'
import { CheckpointError, openCheckpoint } from '../src/index.ts'
import { INDEX_SAMPLES, SHARD_SAMPLES, UNKNOWN } from './file-samples.ts'
import { expectNothingOpen, fileOf, refusal, temporaryFolder, tensor, write, writeIndex } from './support.ts'

const COMMIT = '0123456789abcdef0123456789abcdef01234567'
const NAMES = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'] as const

describe('openCheckpoint() says what a file really is that should be', () => {
  test.each(SHARD_SAMPLES)('a single file: $what', async ({ bytes, says }) => {
    const folder = temporaryFolder()
    const path = write(folder, 'model.safetensors', bytes)
    for (const source of [path, folder]) {
      const error = await refusal(openCheckpoint(source))
      expect(error.message).toMatch(says)
      expect(error.message).toContain(path)
      expect(error.code).toMatch(/^SAFETENSORS_/)
      expect(error.path).toBe(path)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
      expect(error.message).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/)
    }
    expectNothingOpen(folder)
  })

  test.each(SHARD_SAMPLES)('one shard of two: $what', async ({ bytes, says }) => {
    const folder = temporaryFolder()
    writeIndex(folder, { a: NAMES[0], b: NAMES[1] })
    write(folder, NAMES[0], fileOf([tensor('a')]))
    const path = write(folder, NAMES[1], bytes)
    const error = await refusal(openCheckpoint(folder))
    expect(error.message).toMatch(says)
    expect(error.path).toBe(path)
    expect(error.code).toMatch(/^SAFETENSORS_/)
    expectNothingOpen(folder)
  })

  test.each(INDEX_SAMPLES)('an index: $what', async ({ bytes, says }) => {
    const folder = temporaryFolder()
    const path = write(folder, 'model.safetensors.index.json', bytes)
    const error = await refusal(openCheckpoint(folder))
    expect(error).toMatchObject({ code: 'SAFETENSORS_INVALID_INDEX', path })
    expect(error.message).toMatch(says)
  })

  test.each(UNKNOWN)('and nothing of $what', async ({ bytes }) => {
    const path = write(temporaryFolder(), 'model.safetensors', bytes)
    const error = await refusal(openCheckpoint(path))
    expect(error.message).not.toContain('the file is')
    expect(error.message).toContain(path)
  })

  test('with the command of its own cache where it came from the hub', async () => {
    const snapshot = join(temporaryFolder(), 'models--org--name', 'snapshots', COMMIT)
    mkdirSync(snapshot, { recursive: true })
    write(snapshot, 'model.safetensors', fileOf([tensor('a')]).subarray(0, -1))
    const { message } = await refusal(openCheckpoint(snapshot))
    expect(message).toMatch(new RegExp(`: hf download org/name --revision ${COMMIT} --force-download$`))
  })

  test('with a command that a shell takes as it is meant, whatever the folder is called', async () => {
    const folder = join(temporaryFolder(), "it's; $(reboot)")
    mkdirSync(folder)
    write(folder, 'model.safetensors', 'version https://git-lfs.github.com/spec/v1\n')
    const { message } = await refusal(openCheckpoint(folder))
    expect(message.endsWith(`git -C '${folder.replace("'", `'\\''`)}' lfs pull`)).toBe(true)
  })
})

describe('openCheckpoint() says of a file that is not there', () => {
  test('that it is a link to nothing, alone and as a shard and as an index', async () => {
    const folder = temporaryFolder()
    for (const name of ['model.safetensors', NAMES[1], 'other.index.json']) symlinkSync('../gone', join(folder, name))
    writeIndex(folder, { a: NAMES[1] }, 'model.safetensors.index.json')
    const sources = { 'model.safetensors': 'SOURCE_NOT_FOUND', 'model.safetensors.index.json': 'SHARD_NOT_FOUND' }
    for (const [name, code] of Object.entries(sources)) {
      const error = await refusal(openCheckpoint(join(folder, name)))
      expect(error.code).toBe(code)
      expect(error.message).toContain('it is a link to "../gone", where nothing is')
    }
    expect((await refusal(openCheckpoint(join(folder, 'other.index.json')))).message).toContain('a link to "../gone"')
  })

  test('all shards that are missing', async () => {
    const folder = temporaryFolder()
    writeIndex(folder, { a: NAMES[0], b: NAMES[1], c: 'third.safetensors' })
    write(folder, NAMES[0], fileOf([tensor('a')]))
    const error = await refusal(openCheckpoint(folder))
    expect(error).toMatchObject({ code: 'SHARD_NOT_FOUND', path: join(folder, NAMES[1]) })
    expect(error.message).toBe(`2 of 3 shards are missing in "${folder}": "${NAMES[1]}", "third.safetensors"`)
  })

  test.each(['.incomplete', '.part', '.crdownload', '.aria2'])(
    'that its download was not finished, by the file with %s beside it',
    async (ending) => {
      const folder = temporaryFolder()
      writeIndex(folder, { a: NAMES[0] })
      write(folder, NAMES[0] + ending, 'x')
      const { message } = await refusal(openCheckpoint(folder))
      expect(message).toContain(`its download was not finished: "${NAMES[0]}${ending}" stands beside it`)
    },
  )

  test('that a download to its folder was interrupted', async () => {
    const folder = temporaryFolder()
    const waiting = join(folder, '.cache', 'huggingface', 'download')
    mkdirSync(waiting, { recursive: true })
    write(waiting, 'xyz.incomplete', '')
    const expected = `a download was interrupted: "${waiting}" holds "xyz.incomplete"; give the same hf download again`
    expect((await refusal(openCheckpoint(folder))).message).toContain(expected)
    writeIndex(folder, { a: NAMES[0] })
    expect((await refusal(openCheckpoint(folder))).message).toContain(expected)
  })

  test('what brings it, in a cache of the hub: also for a snapshot without weights', async () => {
    const model = join(temporaryFolder(), 'models--org--name')
    const snapshot = join(model, 'snapshots', COMMIT)
    for (const path of [snapshot, join(model, 'blobs')]) mkdirSync(path, { recursive: true })
    write(join(model, 'blobs'), '0123.incomplete', '')
    write(snapshot, 'config.json', '{}')
    const empty = await refusal(openCheckpoint(snapshot))
    writeIndex(snapshot, { a: NAMES[0], b: NAMES[1] })
    write(snapshot, NAMES[0], fileOf([tensor('a')]))
    const partial = await refusal(openCheckpoint(snapshot))
    expect([empty.code, partial.code]).toEqual(['SOURCE_NOT_FOUND', 'SHARD_NOT_FOUND'])
    for (const { message } of [empty, partial]) {
      expect(message).toContain('"0123.incomplete"')
      expect(message).toMatch(new RegExp(`to fetch what is missing: hf download org/name --revision ${COMMIT}$`))
    }
  })

  test('what brings the rest of numbered shards', async () => {
    const snapshot = join(temporaryFolder(), 'models--org--name', 'snapshots', COMMIT)
    mkdirSync(snapshot, { recursive: true })
    write(snapshot, NAMES[1], fileOf([tensor('a')]))
    const error = await refusal(openCheckpoint(snapshot))
    expect(error.code).toBe('SOURCE_AMBIGUOUS')
    expect(error.message).toMatch(/missing: number 1; to fetch what is missing: hf download org\/name --revision \w+$/)
    // Variants to choose from are no reason to fetch anything.
    for (const name of [NAMES[1], 'model.a.safetensors', 'model.b.safetensors']) write(snapshot, name, '')
    expect((await refusal(openCheckpoint(snapshot))).message).not.toContain('hf download')
  })

  test('that only a shell knows ~', async () => {
    expect((await refusal(openCheckpoint('~/models/x'))).message).toContain('only a shell knows "~" as the home folder')
  })

  test('that it is there in other letters', async () => {
    const folder = temporaryFolder()
    writeIndex(folder, { a: 'Model.safetensors' })
    write(folder, 'model.safetensors', fileOf([tensor('a')]))
    const { message } = await refusal(openCheckpoint(join(folder, 'model.safetensors.index.json')))
    expect(message).toContain('"model.safetensors" is there, in other letters')
  })

  test('that the index is one of PyTorch files', async () => {
    const folder = temporaryFolder()
    const index = writeIndex(folder, { a: 'pytorch_model-00001-of-00002.bin' }, 'pytorch_model.bin.index.json')
    expect((await refusal(openCheckpoint(index))).message).toContain('its name is that of a PyTorch file')
    write(folder, 'pytorch_model-00001-of-00002.bin', 'PK\x03\x04'.padEnd(200, 'x'))
    expect((await refusal(openCheckpoint(index))).message).toContain('the file is a zip archive, as PyTorch writes')
  })
})

describe('openCheckpoint() says of a folder without safetensors files', () => {
  test('which of its folders hold a checkpoint', async () => {
    const folder = temporaryFolder()
    for (const name of ['unet', 'scheduler', 'text_encoder']) mkdirSync(join(folder, name))
    write(join(folder, 'unet'), 'diffusion_pytorch_model.safetensors', fileOf([tensor('a')]))
    writeIndex(join(folder, 'text_encoder'), { a: 'x' })
    const error = await refusal(openCheckpoint(folder))
    expect(error.code).toBe('SOURCE_NOT_FOUND')
    expect(error.message).toContain('these of its folders hold one, name it: "text_encoder", "unet"')
  })

  test('the folders a floor below, where those of the first have none', async () => {
    const folder = temporaryFolder()
    mkdirSync(join(folder, 'split_files', 'vae'), { recursive: true })
    write(join(folder, 'split_files', 'vae'), 'ae.safetensors', fileOf([tensor('a')]))
    const { message } = await refusal(openCheckpoint(folder))
    expect(message).toContain('these of its folders hold one, name it: "split_files/vae"')
  })

  test('how a folder of it is named in the hub, and nothing about fetching it', async () => {
    const unet = join(temporaryFolder(), 'models--org--name', 'snapshots', COMMIT, 'unet')
    mkdirSync(unet, { recursive: true })
    write(unet, 'diffusion_pytorch_model.safetensors', fileOf([tensor('a')]))
    const { message } = await refusal(openCheckpoint(join(unet, '..')))
    expect(message).toContain(`"unet" ("hf:org/name/unet@${COMMIT}")`)
    expect(message).not.toContain('hf download')
  })

  test('which PyTorch files it holds, and how they become safetensors', async () => {
    const folder = temporaryFolder()
    for (const name of ['pytorch_model-00001-of-00001.bin', 'pytorch_model.bin.index.json']) write(folder, name, '')
    const { message } = await refusal(openCheckpoint(folder))
    expect(message).toContain(
      'it holds PyTorch files ("pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json")',
    )
    expect(message).toContain('https://huggingface.co/spaces/safetensors/convert')
  })

  test('which weights of other formats it holds', async () => {
    const folder = temporaryFolder()
    for (const name of ['model.gguf', 'model.onnx', 'README.md']) write(folder, name, '')
    const { message } = await refusal(openCheckpoint(folder))
    expect(message).toContain('weights of other formats ("model.gguf", "model.onnx")')
  })

  test('which other snapshots have what the one at hand has not', async () => {
    const snapshots = join(temporaryFolder(), 'models--org--name', 'snapshots')
    for (const [commit, file] of [
      ['a', 'config.json'],
      ['b', 'model.safetensors'],
      ['c', 'unet/model.safetensors'],
    ]) {
      mkdirSync(join(snapshots, commit!, 'unet'), { recursive: true })
      write(join(snapshots, commit!), file!, file!.endsWith('.json') ? '{}' : fileOf([tensor('a')]))
    }
    const { message } = await refusal(openCheckpoint(join(snapshots, 'a')))
    expect(message).toContain(
      '; these snapshots of it hold one: "hf:org/name@b"; to fetch what is missing: hf download',
    )
    expect((await refusal(openCheckpoint(join(snapshots, 'a', 'unet')))).message).toContain('"hf:org/name/unet@c"')
    expect((await refusal(openCheckpoint(join(snapshots, 'a', 'vae')))).message).not.toContain('these snapshots')
  })

  test('that it is a cache of the hub, and which models are in it', async () => {
    const folder = temporaryFolder()
    for (const name of ['models--org--name', 'models--gpt2', '.locks']) mkdirSync(join(folder, name))
    const { message } = await refusal(openCheckpoint(folder))
    expect(message).toContain('it is a Hugging Face cache: name a model in it, such as "hf:gpt2", "hf:org/name"')
  })
})

describe('explainError() gives back as it is', () => {
  test.each([
    ['what is no error of ours', new TypeError('x')],
    ['an error without a file', new CheckpointError('SHARD_NOT_FOUND', 'x')],
    ['an error of a file that is gone meanwhile', new CheckpointError('SHARD_UNREADABLE', 'x', { path: '/no/such' })],
    ['no error at all', undefined],
  ])('%s', async (_, error) => {
    expect(await explainError(error)).toBe(error)
  })

  test('keeps code, fields and cause of what it adds to', async () => {
    const cause = new Error('cause')
    const path = join(temporaryFolder(), 'model.safetensors')
    symlinkSync('gone', path)
    const fields = { path, tensor: 't', candidates: ['c'], cause }
    const explained = await explainError(new CheckpointError('SHARD_NOT_FOUND', 'It is missing', fields))
    expect(explained).toBeInstanceOf(CheckpointError)
    expect(explained).toMatchObject({ code: 'SHARD_NOT_FOUND', ...fields })
    expect((explained as Error).message).toBe('It is missing; it is a link to "gone", where nothing is')
  })
})
