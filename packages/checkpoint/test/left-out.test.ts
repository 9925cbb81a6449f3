import { describe, expect, test } from 'vitest'
import { openCheckpoint } from '../src/index.ts'
import { expectNothingOpen, fileOf, refusal, temporaryFolder, tensor, write, writeIndex } from './support.ts'

const shard = (number: number, count = 3): string => `model-0000${number}-of-0000${count}.safetensors`

/** A folder with these files, each with one tensor of the file's own name, and an index that names some of them. */
function folderWith(names: readonly string[], indexed: readonly string[]): string {
  const folder = temporaryFolder()
  for (const name of names) write(folder, name, fileOf([tensor(name)]))
  writeIndex(folder, Object.fromEntries(indexed.map((name) => [name, name])))
  return folder
}

describe('openCheckpoint() refuses an index', () => {
  test.each(['', '/model.safetensors.index.json'])(
    'that leaves out shards of its own numbering, opened by its folder with %j',
    async (below) => {
      const folder = folderWith([shard(1), shard(2), shard(3)], [shard(2)])
      const error = await refusal(openCheckpoint(folder + below))
      expect(error).toMatchObject({ code: 'SHARD_LEFT_OUT', path: `${folder}/${shard(1)}` })
      expect(error.message).toContain('names 1 shard, and')
      expect(error.message).toContain(`"${shard(1)}", "${shard(3)}"; fetch the right index`)
      expectNothingOpen(folder)
    },
  )

  test('that names nothing, beside any safetensors file', async () => {
    for (const name of [shard(1), 'other.safetensors']) {
      const error = await refusal(openCheckpoint(folderWith([name], [])))
      expect(error.code).toBe('SHARD_LEFT_OUT')
      expect(error.message).toContain('names no shard')
    }
  })
})

describe('openCheckpoint() takes an index', () => {
  test('beside files that are no shards of its checkpoint by their names', async () => {
    const others = [shard(3, 2), shard(1, 4), 'model-mtp-of-00003.safetensors', 'extra.safetensors', `._${shard(3)}`]
    using checkpoint = await openCheckpoint(folderWith([shard(1), shard(2), ...others], [shard(1), shard(2)]))
    expect(checkpoint.names).toEqual([shard(1), shard(2)])
  })

  test('beside a shard of its own without tensors, which it cannot name', async () => {
    const folder = folderWith([shard(1), shard(2)], [shard(1), shard(2)])
    write(folder, shard(3), fileOf([], { metadata: { format: 'pt' } }))
    using checkpoint = await openCheckpoint(folder)
    expect(checkpoint.names).toEqual([shard(1), shard(2)])
  })

  test('beside a variant with as many shards', async () => {
    const variant = 'model.fp16-00003-of-00003.safetensors'
    using checkpoint = await openCheckpoint(folderWith([shard(1), shard(2), variant], [shard(1), shard(2)]))
    expect(checkpoint.names).toEqual([shard(1), shard(2)])
  })

  test('that names nothing where there is nothing', async () => {
    using checkpoint = await openCheckpoint(folderWith([], []))
    expect(checkpoint.names).toEqual([])
  })
})

test('openCheckpoint() of a list of shards asks no index', async () => {
  const folder = folderWith([shard(1), shard(2), shard(3)], [shard(1)])
  using checkpoint = await openCheckpoint([`${folder}/${shard(1)}`, `${folder}/${shard(3)}`])
  expect(checkpoint.names).toEqual([shard(1), shard(3)])
})
