import { copyFileSync, truncateSync, utimesSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { assertShardsUnchanged, closeShards } from '../src/open-shard.ts'
import { readHeaders } from '../src/read-headers.ts'
import { fileOf, refusal, temporaryFolder, tensor, utf8, write } from './support.ts'

const A = tensor('a', 'U8', [4])
const GOOD = fileOf([A])

describe('assertShardsUnchanged() refuses a shard that was', () => {
  const other = fileOf([{ ...A, bytes: utf8('abcd') }])

  test.each<[how: string, change: (path: string, folder: string) => void]>([
    ['cut', (path) => truncateSync(path, GOOD.byteLength - 1)],
    ['touched', (path) => utimesSync(path, 1, 1)],
    ['overwritten in place with as many bytes', (path, folder) => copyFileSync(write(folder, 'other', other), path)],
  ])('%s', async (_, change) => {
    const folder = temporaryFolder()
    const path = write(folder, 'x.safetensors', GOOD)
    utimesSync(path, 1, 2)
    const shards = await readHeaders([path])
    assertShardsUnchanged(shards)
    change(path, folder)
    expect(await refusal(() => assertShardsUnchanged(shards))).toMatchObject({ code: 'CHECKPOINT_CHANGED', path })
    closeShards(shards)
  })
})
