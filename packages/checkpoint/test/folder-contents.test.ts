import { readdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tries } from '../../../test/many-inputs.ts'
import {
  missingNumbers,
  numberedShard,
  shardCountOf,
  weightFilesOf,
  withoutAppleDouble,
} from '../src/folder-contents.ts'
import { openCheckpoint, saveCheckpoint } from '../src/index.ts'
import { refusal, temporaryFolder } from './support.ts'

const TENSORS = ['a', 'b'].map((name) => ({ name, dtype: 'U8', shape: [4], data: new Uint8Array(4) }) as const)

/** Words that are letters, or that file names of checkpoints are made of. */
const word = fc.oneof(
  fc.constantFrom(
    'model',
    'fp16',
    'safetensors',
    'index',
    'json',
    'of',
    '00001',
    'adapter_model',
    '-',
    '_',
    ' ',
    'ü',
    '._',
  ),
  fc.stringMatching(/^[a-zA-Z0-9_-]{1,8}$/),
)
const stem = fc
  .tuple(fc.array(word, { minLength: 1, maxLength: 4 }), fc.constantFrom('', '.', '-'))
  .map(([words, between]) => words.join(between))
  // What is refused, see below.
  .filter((name) => !/[-_]\d+-of-\d+(?:\.[^.]+)?$/.test(name) && !/[. ]$/.test(name))

describe('a folder that saveCheckpoint() wrote opens', () => {
  test('whatever stem and variant it was given, as one file and as several', async () => {
    await fc.assert(
      fc.asyncProperty(
        stem,
        fc.option(fc.stringMatching(/^[a-zA-Z0-9_]{1,8}$/), { nil: undefined }),
        fc.boolean(),
        async (stem, variant, sharded) => {
          const folder = temporaryFolder()
          const naming = { stem, ...(variant !== undefined && { variant }) }
          await saveCheckpoint(folder, TENSORS, { ...naming, ...(sharded && { maxShardBytes: 4 }) })
          using checkpoint = await openCheckpoint(folder)
          expect(checkpoint.names).toEqual(['a', 'b'])
          if (variant === undefined) return
          using chosen = await openCheckpoint(folder, { variant })
          expect(chosen.names).toEqual(['a', 'b'])
        },
      ),
      tries(150),
    )
  })
})

test.each([{ stem: 'model-00001-of-00002' }, { stem: 'a_5-of-72' }, { stem: 'a-1-of-2.b' }, { variant: 'x-1-of-2' }])(
  'saveCheckpoint() refuses %j, whose single file would say that others are missing',
  async (naming) => {
    const folder = temporaryFolder()
    const [option] = Object.keys(naming)
    const error = await refusal(saveCheckpoint(folder, TENSORS, naming))
    expect(error).toBeInstanceOf(RangeError)
    expect(error.message).toContain(`The option ${option} of saveCheckpoint()`)
    expect(readdirSync(folder)).toEqual([])
  },
)

describe('weightFilesOf()', () => {
  test('puts together what has one name, and leaves out what is no weights', () => {
    const names = [
      'model.safetensors.index.json',
      'model-00002-of-00002.safetensors',
      'model-00001-of-00002.safetensors',
      'model.fp16.safetensors',
      'model.safetensors.index.fp16.json',
      'model-00001-of-00001.fp16.safetensors',
      'config.json',
      'model.bin',
      '.safetensors',
      'model.safetensors.tmp',
    ]
    expect(weightFilesOf(names)).toEqual([
      {
        base: 'model.fp16',
        single: 'model.fp16.safetensors',
        indexes: ['model.safetensors.index.fp16.json'],
        shards: [{ base: 'model.fp16', name: 'model-00001-of-00001.fp16.safetensors', number: 1, count: 1 }],
      },
      {
        base: 'model',
        single: null,
        indexes: ['model.safetensors.index.json'],
        shards: [
          { base: 'model', name: 'model-00001-of-00002.safetensors', number: 1, count: 2 },
          { base: 'model', name: 'model-00002-of-00002.safetensors', number: 2, count: 2 },
        ],
      },
    ])
  })
})

describe('numberedShard()', () => {
  test.each([
    ['model-00001-of-00002.safetensors', 'model', 1, 2],
    ['model_5-of-72.safetensors', 'model', 5, 72],
    ['model.fp16-00001-of-000163.safetensors', 'model.fp16', 1, 163],
    ['model-00001-of-00002.fp16.safetensors', 'model.fp16', 1, 2],
    ['model-00000-of-00002.safetensors', 'model', 0, 2],
  ])('%s', (name, base, number, count) => {
    expect(numberedShard(name)).toEqual({ name, base, number, count })
  })

  test.each([
    'model.safetensors',
    'model-00003-of-00002.safetensors',
    'model-00000-of-00000.safetensors',
    'model-of-00002.safetensors',
    '-00001-of-00002.safetensors',
    'model-00001-of-00002.bin',
  ])('%s is none', (name) => {
    expect(numberedShard(name)).toBeNull()
  })
})

test.each([
  { numbers: [1, 2, 3], count: 3, missing: [], all: 3 },
  { numbers: [2], count: 3, missing: [1, 3], all: 3 },
  { numbers: [0, 1, 2], count: 3, missing: [], all: 3 }, // from zero
  { numbers: [0, 2], count: 3, missing: [1], all: 3 },
  { numbers: [0, 1, 2], count: 2, missing: [], all: 3 }, // as gpt-oss
  { numbers: [0, 2], count: 2, missing: [1], all: 3 },
  { numbers: [0], count: 1, missing: [], all: 1 },
])('missingNumbers() of $numbers of $count: $missing', ({ numbers, count, missing, all }) => {
  const shards = numbers.map((number) => ({ base: 'x', name: `x${number}`, number, count }))
  expect(missingNumbers(shards)).toEqual(missing)
  expect(shardCountOf(shards)).toBe(all)
})

test('a folder with the first of several shards that count from zero does not open as a whole checkpoint', async () => {
  const folder = temporaryFolder()
  await saveCheckpoint(folder, TENSORS)
  renameSync(join(folder, 'model.safetensors'), join(folder, 'model-00000-of-00002.safetensors'))
  const { code, message } = await refusal(openCheckpoint(folder))
  expect(code).toBe('SOURCE_AMBIGUOUS')
  expect(message).toContain('holds 1 of 2 shards ("model-00000-of-00002.safetensors"), and no index; missing: number 1')
})

test('missingNumbers() of shards that claim to be of a hundred million', () => {
  const missing = missingNumbers([{ base: 'x', name: 'x', number: 2, count: 100_000_000 }])
  expect(missing.slice(0, 3)).toEqual([1, 3, 4])
  expect(missing.length).toBeLessThan(2000)
})

test('withoutAppleDouble() keeps them where they are all there is', () => {
  expect(withoutAppleDouble(['._a.safetensors', 'a.safetensors'])).toEqual(['a.safetensors'])
  expect(withoutAppleDouble(['._a.safetensors', 'README.md'])).toEqual(['._a.safetensors', 'README.md'])
})
