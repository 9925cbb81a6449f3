import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { serialize } from '@onecopy/safetensors'
import { expect, test } from 'vitest'
import { Checkpoint } from '../src/checkpoint.ts'
import { openCheckpoint } from '../src/open-checkpoint.ts'
import { temporaryFolder } from './support.ts'

function saved(config?: string): string {
  const folder = temporaryFolder()
  writeFileSync(
    join(folder, 'model.safetensors'),
    serialize([{ name: 'a', dtype: 'U8', shape: [1], data: new Uint8Array(1) }]),
  )
  if (config !== undefined) writeFileSync(join(folder, 'config.json'), config)
  return folder
}

test('config is what stands beside the shards, also in a thread that adopts the checkpoint, and read once', async () => {
  const folder = saved('{"num_attention_heads": 8}')
  using checkpoint = await openCheckpoint(folder)
  using adopted = Checkpoint.adopt(checkpoint.share())
  for (const one of [checkpoint, adopted]) {
    expect(one.config).toEqual({ num_attention_heads: 8 })
    expect(one.config).toBe(one.config)
  }
})

test('config is null where there is none', async () => {
  using checkpoint = await openCheckpoint(saved())
  expect(checkpoint.config).toBeNull()
})

test.each([
  ['no JSON', '{', /JSON/],
  ['no object', '[1]', /must hold a JSON object/],
])('config that is %s is an error, and the weights open', async (_, text, message) => {
  using checkpoint = await openCheckpoint(saved(text))
  expect(checkpoint.tensor('a').data).toHaveLength(1)
  expect(() => checkpoint.config).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
  expect(() => checkpoint.config).toThrow(message)
})

test('config that is too large or a folder is an error', async () => {
  const folder = saved('')
  truncateSync(join(folder, 'config.json'), 16 * 2 ** 20 + 1)
  using large = await openCheckpoint(folder)
  expect(() => large.config).toThrow(/16777217 bytes, and must have at most 16777216/)
  const other = saved()
  mkdirSync(join(other, 'config.json'))
  using besides = await openCheckpoint(other)
  expect(() => besides.config).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
})
