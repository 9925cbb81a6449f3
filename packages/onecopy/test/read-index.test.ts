import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openCheckpoint } from '@onecopy/checkpoint'
import { beforeEach, describe, expect, test } from 'vitest'
import { readIndex } from '../src/commands/plan/read-index.ts'
import { temporaryFolder } from './run-onecopy.ts'
import { saveTwoShards } from './small-checkpoints.ts'

let folder: string

beforeEach(() => {
  folder = temporaryFolder()
})

/** A part of what `onecopy inspect --json` prints; tests break it. */
function description() {
  return {
    tensorCount: 2,
    shards: [{ name: 's.safetensors', path: '/elsewhere/s.safetensors', byteLength: 200, dataOffset: 100 }],
    tensors: [
      { name: 'a', dtype: 'F32', shape: [2, 3], shard: 's.safetensors', begin: 100, end: 124 },
      { name: 'b', dtype: 'F4', shape: [4], shard: 's.safetensors', begin: 124, end: 126 },
    ],
  }
}

type Json = ReturnType<typeof description> & Record<string, unknown>

function read(content: unknown) {
  const path = join(folder, 'described.json')
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content))
  return readIndex(path, {})
}

describe('readIndex()', () => {
  test('gives the index of a checkpoint, and the file beside which its configuration may lie', async () => {
    await saveTwoShards(folder)
    using checkpoint = await openCheckpoint(folder)
    const expected = { label: checkpoint.label, index: checkpoint.index }
    const { besides, ...source } = await readIndex(folder, {})
    expect(source).toEqual(expected)
    expect(join(besides!, '..')).toBe(folder)
    const shardIndex = await readIndex(join(folder, 'model.safetensors.index.json'), {})
    expect(shardIndex).toEqual({ ...expected, besides })
  })

  test('gives the index that a description has, in the one order of indexes', async () => {
    const { shards, tensors, ...rest } = description()
    const { label, index, besides } = await read({ ...rest, shards, tensors: tensors.toReversed() })
    expect([label, besides]).toEqual([join(folder, 'described.json'), null])
    expect(index).toEqual({
      shards: [{ name: 's.safetensors', byteLength: 200 }],
      tensors: tensors.map(({ name, dtype, shape, begin, end }) => ({ name, dtype, shape, shard: 0, begin, end })),
    })
  })

  test.each<[string, (json: Json) => void, string]>([
    ['lists some of the tensors', (json) => json.tensors.pop(), 'it lists 1 of 2 tensors; list all, without --tensors'],
    [
      'does not count its tensors',
      (json) => Object.assign(json, { tensorCount: undefined }),
      'it lists 2 of undefined tensors; list all, without --tensors',
    ],
    ['has a shard that is none', (json) => json.shards.push(null as never), 'shard 1 has no name or byteLength'],
    [
      'has a shard without a length',
      (json) => Object.assign(json.shards[0]!, { byteLength: -1 }),
      'shard 0 has no name or byteLength',
    ],
    ['has a shard twice', (json) => json.shards.push(json.shards[0]!), 'shard "s.safetensors" comes twice'],
    ['has a tensor that is none', (json) => json.tensors.splice(1, 1, null as never), 'tensor 1 has no name'],
    ['has a tensor without a name', (json) => Object.assign(json.tensors[0]!, { name: 7 }), 'tensor 0 has no name'],
    ['has a tensor twice', (json) => Object.assign(json.tensors[1]!, { name: 'a' }), 'tensor "a" comes twice'],
    ['has an unknown dtype', (json) => Object.assign(json.tensors[0]!, { dtype: 'F33' }), 'tensor "a" has dtype "F33"'],
    ['has no dtype', (json) => Object.assign(json.tensors[0]!, { dtype: undefined }), 'tensor "a" has dtype undefined'],
    ['has no shape', (json) => Object.assign(json.tensors[0]!, { shape: '2, 3' }), 'tensor "a" has shape "2, 3"'],
    [
      'has a shape that cannot be',
      (json) => Object.assign(json.tensors[0]!, { shape: [2, -3] }),
      'tensor "a" has shape [2,-3]',
    ],
    [
      'has a shape that is too large',
      (json) => Object.assign(json.tensors[0]!, { shape: [2 ** 50, 2 ** 50] }),
      'tensor "a" cannot be F32 with shape [1125899906842624,1125899906842624]',
    ],
    [
      'has elements that fill no whole bytes',
      (json) => Object.assign(json.tensors[1]!, { shape: [3] }),
      'tensor "b" cannot be F4 with shape [3]',
    ],
    [
      'has a tensor in no shard',
      (json) => Object.assign(json.tensors[1]!, { shard: 't' }),
      'tensor "b" is in shard "t", which is not listed',
    ],
    [
      'has a tensor of another length',
      (json) => Object.assign(json.tensors[0]!, { end: 120 }),
      'tensor "a" needs 24 bytes and has [100, 120)',
    ],
    [
      'has a tensor beyond the end of its shard',
      (json) => Object.assign(json.tensors[0]!, { begin: 180, end: 204 }),
      'tensor "a" needs 24 bytes and has [180, 204)',
    ],
    [
      'has a tensor without a place',
      (json) => Object.assign(json.tensors[0]!, { begin: null, end: Number.POSITIVE_INFINITY }),
      'tensor "a" needs 24 bytes and has [null, null)',
    ],
  ])('refuses a description that %s', async (_, breaks, reason) => {
    const json = description() as Json
    breaks(json)
    await expect(read(json)).rejects.toMatchObject({
      name: 'CommandError',
      code: 'DESCRIPTION_INVALID',
      exitCode: 1,
      message: `"${join(folder, 'described.json')}" is not what onecopy inspect --json prints: ${reason}`,
    })
  })

  test('a message shows only the beginning of what is long', async () => {
    const json = description()
    json.tensors[0]!.name = 'x'.repeat(10_000)
    json.tensors[0]!.shape = Array(10_000).fill(-1)
    const error = await read(json).catch((refusal: Error) => refusal)
    expect((error as Error).message.length).toBeLessThan(500)
  })

  test.each([
    ['{"tensors": [', 'SAFETENSORS_INVALID_INDEX'],
    ['null', 'SAFETENSORS_INVALID_INDEX'],
    ['{"tensors": [], "shards": {}}', 'SAFETENSORS_INVALID_INDEX'],
  ])('leaves %s, which is no description, to the checkpoint, which says what is wrong', async (content, code) => {
    await expect(read(content)).rejects.toMatchObject({ code })
  })
})
