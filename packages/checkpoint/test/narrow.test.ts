import type { SelectedTensor } from '@onecopy/safetensors'
import { FileMapping } from '@onecopy/sharedarraybuffer-utils'
import { expect, onTestFinished, test } from 'vitest'
import { adoptMemory } from '../src/adopt-memory.ts'
import { Directory } from '../src/directory.ts'
import { type Checkpoint, openCheckpoint } from '../src/index.ts'
import { narrow } from '../src/narrow.ts'
import { selectParts } from '../src/select-parts.ts'
import type { ShardMemory } from '../src/shard-memory.ts'
import { fileOf, HAS_ADDON, refusal, startChild, temporaryFolder, tensor, write, writeSharded } from './support.ts'

const SHARDS = [
  [tensor('a', 'F32', [4, 4]), tensor('b', 'U8', [10])],
  [tensor('c', 'I16', [6])],
  [tensor('d', 'U8', [3]), tensor('e', 'F64', [2])],
]

async function open(): Promise<{ whole: Checkpoint; directory: Directory }> {
  const folder = temporaryFolder()
  writeSharded(folder, SHARDS)
  const whole = await openCheckpoint(folder)
  onTestFinished(() => whole.close())
  return { whole, directory: new Directory(whole.directory) }
}

function narrowed(
  { whole, directory }: { whole: Checkpoint; directory: Directory },
  tensors: readonly SelectedTensor[],
) {
  const taken: number[] = []
  const { shards } = whole.share()
  const takeShard = (shard: number): ShardMemory => {
    taken.push(shard)
    return adoptMemory(shards[shard]!)
  }
  const parts = selectParts(directory, { tensors }, 'x')
  const inside = narrow(whole.shards, parts, [], takeShard, () => expect.fail('there is no arena'))
  onTestFinished(() => {
    for (const memory of inside.memory) memory.close()
  })
  return { ...inside, taken }
}

test('narrow() takes the shards that are needed, in order, with the tensors that are selected of them', async () => {
  const opened = await open()
  const { directory, memory, order, taken } = narrowed(opened, [
    { name: 'e' },
    { name: 'a', ranges: [[2, 4]] },
    { name: 'd' },
  ])
  expect(taken).toEqual([0, 2])
  expect(directory.names).toEqual(['a', 'd', 'e'])
  expect([...order]).toEqual([2, 0, 1])
  expect(directory.shards).toEqual([
    { ...opened.whole.shards[0], tensorCount: 1 },
    { ...opened.whole.shards[2], tensorCount: 2 },
  ])
  expect(memory.map(({ path }) => path)).toEqual(directory.shards.map(({ path }) => path))
  const { begin } = opened.directory.entry(opened.directory.find('a'))
  expect(directory.entry(0)).toEqual({ shard: 0, dtype: 'F32', shape: [2, 4], begin: begin + 32, end: begin + 64 })
  expect(directory.tensorBytes).toBe(32 + 3 + 16)
})

test.runIf(HAS_ADDON)('narrow() closes what it has taken when it cannot go on', async () => {
  const { whole, directory } = await open()
  const { shards } = whole.share()
  const parts = selectParts(directory, { tensors: [{ name: 'a' }, { name: 'c' }] }, 'x')
  const taken: ShardMemory[] = []
  const takeShard = (shard: number): ShardMemory => {
    if (shard === 1) throw new RangeError('mine')
    taken.push(adoptMemory(shards[shard]!))
    return taken[0]!
  }
  const error = await refusal(() => narrow(whole.shards, parts, [], takeShard, () => expect.fail('there is no arena')))
  expect(error.message).toBe('mine')
  expect(taken.map((memory) => [memory instanceof FileMapping, memory.closed])).toEqual([[true, true]])
})

test.each(['file', 'sealed'] as const)(
  'a stray write to a selected part names its tensor, with backing %s',
  async (backing) => {
    const raw = [tensor('first', 'U8', [8, 8]), tensor('second', 'U8', [8, 8])]
    const path = write(temporaryFolder(), 'x.safetensors', fileOf(raw))
    for (const [ranges, way] of [
      [[[2, 4]], 'select'],
      [
        [
          [0, 8],
          [2, 4],
        ],
        'open',
      ],
    ] as const) {
      const selection = JSON.stringify({ tensors: [{ name: 'second', ranges }] })
      const { errors, code } = await startChild('write-to-part.mjs', [path, backing, way, selection]).ended
      expect(code).not.toBe(0)
      expect(errors).toContain('tensor "second"')
    }
  },
)
