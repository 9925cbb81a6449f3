import type { Selection } from '@onecopy/safetensors'
import { type ByteRange, copyToHeap, FileMapping, mapFile, sealFile } from '@onecopy/sharedarraybuffer-utils'
import { expect, onTestFinished, test } from 'vitest'
import type { Arena } from '../src/arena.ts'
import { Directory } from '../src/directory.ts'
import { gatherFromFiles, gatherFromMemory, gatherFromRuns, runsOfParts } from '../src/gather-parts.ts'
import { openCheckpoint } from '../src/index.ts'
import { closeShards, type OpenShard } from '../src/open-shard.ts'
import { readHeaders } from '../src/read-headers.ts'
import { type GatheredPart, selectParts } from '../src/select-parts.ts'
import { picked } from './selections.ts'
import { bytesOf, fileOf, temporaryFolder, tensor, write } from './support.ts'

const RAWS = [
  tensor('odd', 'U8', [3]),
  tensor('a', 'BF16', [6, 8]),
  tensor('b', 'F4', [6, 8]),
  tensor('c', 'F64', [2, 3, 4]),
]
const SELECTION: Selection = {
  tensors: [
    {
      name: 'c',
      ranges: [
        [0, 2],
        [
          [0, 1],
          [2, 3],
        ],
        [1, 3],
      ],
    },
    {
      name: 'a',
      ranges: [
        [1, 6],
        [3, 6],
      ],
    },
    {
      name: 'b',
      ranges: [
        [0, 6],
        [4, 6],
      ],
    },
  ],
}

async function prepare(): Promise<{ shard: OpenShard; parts: readonly GatheredPart[] }> {
  const path = write(temporaryFolder(), 'x.safetensors', fileOf(RAWS))
  using checkpoint = await openCheckpoint(path)
  const [shard] = await readHeaders([path])
  onTestFinished(() => closeShards([shard!]))
  return { shard: shard!, parts: selectParts(new Directory(checkpoint.directory), SELECTION, 'x').gathered }
}

function expectGathered({ memory, header, dataOffset }: Arena, parts: readonly GatheredPart[]): void {
  for (const { name, key } of parts) {
    const [begin, end] = header.tensors.get(key)!.dataOffsets
    const { ranges } = SELECTION.tensors.find((selected) => selected.name === name)!
    const raw = RAWS.find((candidate) => candidate.name === name)!
    expect(bytesOf(memory.buffer(dataOffset + begin, dataOffset + end))).toEqual(picked(raw, ranges))
  }
  memory.close()
}

test('gatherFromFiles(), gatherFromMemory() and gatherFromRuns() gather the same', async () => {
  const { shard, parts } = await prepare()
  const { path, byteLength } = shard
  const descriptor = shard.descriptor!
  expectGathered(await gatherFromFiles('x', [shard], parts, {}), parts)
  const whole = [{ begin: 0, end: byteLength }]
  const tensors: ByteRange[] = parts.map(({ begin, end }) => ({ begin, end }))
  for (const memory of [
    mapFile(path),
    await sealFile(descriptor, path, byteLength),
    await copyToHeap(descriptor, path, byteLength, tensors),
    await copyToHeap(descriptor, path, byteLength, whole),
  ]) {
    const done: number[] = []
    const arena = await gatherFromMemory('x', [memory], parts, { onProgress: (bytes) => done.push(bytes) })
    expect(arena.memory instanceof FileMapping).toBe(memory instanceof FileMapping)
    expect(done.at(-1)).toBe(parts.reduce((sum, { slice }) => sum + slice.byteLength, 0))
    expectGathered(arena, parts)
    memory.close()
  }
  const runs = runsOfParts(parts)
  expect(runs.reduce((sum, { begin, end }) => sum + end - begin, 0)).toBe(64 + 30 + 6)
  using copy = await copyToHeap(descriptor, path, byteLength, runs)
  expectGathered(gatherFromRuns('x', [copy], parts), parts)
})

test('runsOfParts() names the shard and the bytes there', async () => {
  const { parts } = await prepare()
  const part = parts.find(({ name }) => name === 'b')!
  const expected = Array.from({ length: 6 }, (_, row) => ({
    shard: 0,
    begin: part.begin + row * 4 + 2,
    end: part.begin + row * 4 + 3,
  }))
  expect(runsOfParts([part])).toEqual(expected)
})

test('gatherFromMemory() leaves the pages of sealed memory where they are', async () => {
  const { shard, parts } = await prepare()
  using sealed = await sealFile(shard.descriptor!, shard.path, shard.byteLength)
  const arena = await gatherFromMemory('x', [sealed], parts, {})
  expect(bytesOf(sealed.buffer(0, sealed.byteLength))).toHaveLength(shard.byteLength)
  expectGathered(arena, parts)
})
