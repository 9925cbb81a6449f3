import { lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { assertReplaceable, replaceFiles, type WrittenFile } from '../src/replace-files.ts'
import { refusal, temporaryFolder, write } from './support.ts'

const SUFFIX = '.tmp'

function written(folder: string, name: string, content: string): WrittenFile {
  return { name, state: lstatSync(write(folder, name + SUFFIX, content), { bigint: true }) }
}

function prepare() {
  const folder = temporaryFolder()
  const shards = ['s1', 's2'].map((name) => written(folder, name, `new ${name}`))
  const index = written(folder, 'index', 'new index')
  return { folder, suffix: SUFFIX, shards, index, indexName: 'index', stale: ['s3'] }
}

describe('replaceFiles()', () => {
  test('puts the new files in the place of the old ones and removes what is stale', async () => {
    const replacement = prepare()
    const { folder } = replacement
    for (const name of ['s1', 's3', 'index', 'other']) write(folder, name, 'old')
    await replaceFiles(replacement)
    expect(readdirSync(folder).sort()).toEqual(['index', 'other', 's1', 's2'])
    for (const name of ['s1', 's2', 'index']) expect(readFileSync(join(folder, name), 'utf8')).toBe(`new ${name}`)
  })

  test('that finds a file of another under a name fails and leaves no index', async () => {
    const replacement = prepare()
    const { folder } = replacement
    // What a second save without a lock does: here before the first has come to this file.
    const foreign = {
      ...replacement.shards[1]!,
      state: lstatSync(write(folder, 'foreign', 'of another'), { bigint: true }),
    }
    const error = await refusal(replaceFiles({ ...replacement, shards: [replacement.shards[0]!, foreign] }))
    expect(error).toMatchObject({ code: 'SAVE_FAILED', path: join(folder, 's2') })
    expect(error.message).toMatch(/was replaced by another process while it was saved; .* save again/)
    expect(readdirSync(folder)).not.toContain('index')
  })

  test('takes a file that was copied under its name, as object stores rename, for the one that was written', async () => {
    const replacement = prepare()
    const { folder, shards } = replacement
    const state = Object.assign(Object.create(shards[0]!.state), shards[0]!.state, { ino: 1n })
    await replaceFiles({ ...replacement, shards: [{ name: 's1', state }, shards[1]!] })
    expect(readdirSync(folder).sort()).toEqual(['index', 's1', 's2'])
  })

  test('fails with the system’s error when the folder goes meanwhile', async () => {
    const replacement = prepare()
    renameSync(replacement.folder, `${replacement.folder}-gone`)
    expect(await refusal(replaceFiles(replacement))).toMatchObject({ code: 'ENOENT' })
    rmSync(`${replacement.folder}-gone`, { recursive: true })
  })
})

test('assertReplaceable() names a folder that stands in the way', async () => {
  const folder = temporaryFolder()
  mkdirSync(join(folder, 's2'))
  write(folder, 's1', '')
  expect(await refusal(assertReplaceable(folder, ['s1', 's2', 's3']))).toMatchObject({
    code: 'SAVE_FAILED',
    message: `Cannot save to "${folder}": "s2" is a folder there`,
  })
})
