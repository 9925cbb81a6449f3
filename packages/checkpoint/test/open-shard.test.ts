import { copyFileSync, fstatSync, renameSync, truncateSync, unlinkSync, utimesSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { assertUnchanged, closeShards, openShard } from '../src/open-shard.ts'
import { readHeaders } from '../src/read-headers.ts'
import { descriptorsIn, expectNothingOpen, fileOf, refusal, temporaryFolder, tensor, utf8, write } from './support.ts'

const A = tensor('a', 'U8', [4])
const GOOD = fileOf([A])

describe('assertUnchanged() and openShard() refuse a shard that was', () => {
  const other = fileOf([{ ...A, bytes: utf8('abcd') }])

  test.each<[how: string, change: (path: string, folder: string) => void]>([
    ['cut', (path) => truncateSync(path, GOOD.byteLength - 1)],
    ['touched', (path) => utimesSync(path, 1, 1)],
    ['overwritten in place with as many bytes', (path, folder) => copyFileSync(write(folder, 'other', other), path)],
  ])('%s', async (_, change) => {
    const folder = temporaryFolder()
    const path = write(folder, 'x.safetensors', GOOD)
    utimesSync(path, 1, 2)
    const [shard] = await readHeaders([path])
    using file = openShard(shard!)
    assertUnchanged(shard!, file)
    const closed = { ...shard!, descriptor: null }
    openShard(closed).close()
    change(path, folder)
    const changed = { code: 'CHECKPOINT_CHANGED', path }
    expect(await refusal(() => assertUnchanged(shard!, file))).toMatchObject(changed)
    expect(await refusal(() => openShard(closed))).toMatchObject(changed)
    closeShards([shard!])
  })
})

describe('openShard()', () => {
  test('opens a shard again that is not held open, and refuses another file of its name', async () => {
    const folder = temporaryFolder()
    const path = write(folder, 'x.safetensors', GOOD)
    utimesSync(path, 1, 2)
    const [shard] = await readHeaders([path])
    closeShards([shard!])
    const closed = { ...shard!, descriptor: null }
    using file = openShard(closed)
    expect(fstatSync(file.number, { bigint: true }).ino).toBe(shard!.inode)
    const other = write(folder, 'other', GOOD)
    utimesSync(other, 1, 2)
    renameSync(other, path)
    expect(await refusal(() => openShard(closed))).toMatchObject({ code: 'CHECKPOINT_CHANGED', path })
    unlinkSync(path)
    expect(await refusal(() => openShard(closed))).toMatchObject({ code: 'SHARD_UNREADABLE', path })
    expect(descriptorsIn(folder)).toHaveLength(1)
  })

  test('shares a shard that is held open, whatever has its name by now', async () => {
    const folder = temporaryFolder()
    const path = write(folder, 'x.safetensors', GOOD)
    const [shard] = await readHeaders([path])
    unlinkSync(path)
    const file = openShard(shard!)
    closeShards([shard!])
    expect(fstatSync(file.number, { bigint: true }).ino).toBe(shard!.inode)
    file.close()
    expectNothingOpen(folder)
  })
})
