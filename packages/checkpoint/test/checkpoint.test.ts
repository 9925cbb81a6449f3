import { join } from 'node:path'
import { mappingCount } from '@onecopy/sharedarraybuffer-utils'
import { describe, expect, test } from 'vitest'
import { type Backing, Checkpoint, openCheckpoint } from '../src/index.ts'
import {
  adoptingWorker,
  bytesOf,
  collectGarbage,
  descriptorsIn,
  expectNothingOpen,
  fileOf,
  mappingsIn,
  refusal,
  sha256,
  temporaryFolder,
  tensor,
  write,
  writeSharded,
} from './support.ts'

const ODD = ['', '__proto__', 'constructor', 'a\0b', 'x'.repeat(10_000), 'größe', '\u{1f600}', 'a/../b']
const FIRST = [tensor('weight', 'F32', [4, 3]), ...ODD.map((name) => tensor(name, 'U8', [5]))]
const SECOND = [tensor('bias', 'BF16', [7]), tensor('scalar', 'F64', []), tensor('nothing', 'I64', [0, 4])]
const ALL = [...FIRST, ...SECOND]

const BACKINGS = ['file', 'sealed', 'heap'] as const

/** A checkpoint of two shards, closed by the caller. */
async function open(backing: Backing = 'file'): Promise<{ checkpoint: Checkpoint; folder: string }> {
  const folder = temporaryFolder()
  writeSharded(folder, [FIRST, SECOND])
  return { checkpoint: await openCheckpoint(folder, { backing }), folder }
}

describe.each(BACKINGS)('a Checkpoint of backing %s', (backing) => {
  test('knows its names in file order, its tensors and its shards', async () => {
    const { checkpoint, folder } = await open(backing)
    expect(checkpoint.names).toEqual(ALL.map(({ name }) => name))
    expect(checkpoint.tensorCount).toBe(ALL.length)
    expect(checkpoint.byteLength).toBe(ALL.reduce((sum, { bytes }) => sum + bytes.byteLength, 0))
    expect(checkpoint.backing).toBe(backing)
    expect(checkpoint.label).toBe(join(folder, 'model.safetensors.index.json'))
    expect(checkpoint.shards).toMatchObject([
      { name: 'model-00001-of-00002.safetensors', tensorCount: FIRST.length, metadata: null },
      { name: 'model-00002-of-00002.safetensors', tensorCount: SECOND.length, metadata: null },
    ])
    for (const raw of ALL) {
      expect(checkpoint.has(raw.name)).toBe(true)
      const view = checkpoint.tensor(raw.name)
      expect(view).toMatchObject({ name: raw.name, dtype: raw.dtype, shape: raw.shape })
      expect(view.buffer.byteLength).toBe(raw.bytes.byteLength)
      expect(bytesOf(view.buffer)).toEqual(raw.bytes)
    }
    expect([...checkpoint.tensors()].map(({ name }) => name)).toEqual(checkpoint.names)
    for (const name of ['weigh', 'weight ', 'toString', 'a', '\ud83d']) expect(checkpoint.has(name)).toBe(false)
    checkpoint.close()
  })

  test('tensor() gives the same view, buffer and data twice', async () => {
    const { checkpoint } = await open(backing)
    const view = checkpoint.tensor('weight')
    expect(checkpoint.tensor('weight')).toBe(view)
    expect(view.buffer).toBe(view.buffer)
    expect(view.data).toBe(view.data)
    checkpoint.close()
  })

  test('tensor() throws with the nearest names when the name is unknown', async () => {
    const { checkpoint } = await open(backing)
    const error = await refusal(() => checkpoint.tensor('wieght'))
    expect(error).toMatchObject({ name: 'CheckpointError', code: 'TENSOR_NOT_FOUND', tensor: 'wieght' })
    expect(error.candidates?.[0]).toBe('weight')
    expect(error.message).toContain('nearest: "weight"')
    expect(error.message).toContain(checkpoint.label)
    expect((await refusal(() => checkpoint.tensor('toString'))).code).toBe('TENSOR_NOT_FOUND')
    checkpoint.close()
  })

  test('locate() tells the shard and the bytes there', async () => {
    const { checkpoint, folder } = await open(backing)
    for (const raw of ALL) {
      const { shard, begin, end } = checkpoint.locate(raw.name)
      const file = checkpoint.shards.find(({ name }) => name === shard)!
      expect(file.path).toBe(join(folder, shard))
      expect(end - begin).toBe(raw.bytes.byteLength)
      expect(begin).toBeGreaterThanOrEqual(file.dataOffset)
    }
    expect(checkpoint.locate('bias').shard).toBe('model-00002-of-00002.safetensors')
    expect((await refusal(() => checkpoint.locate('none'))).code).toBe('TENSOR_NOT_FOUND')
    checkpoint.close()
  })

  test('close() may be called twice, leaves buffers readable, and ends the rest', async () => {
    const { checkpoint } = await open(backing)
    const read = checkpoint.tensor('weight')
    const { buffer, data } = read
    const unread = checkpoint.tensor('bias')
    const slice = read.slice([0, 2])
    checkpoint.close()
    checkpoint.close()
    expect(checkpoint.closed).toBe(true)
    expect(bytesOf(buffer)).toEqual(FIRST[0]!.bytes)
    expect(data.length).toBe(12)
    expect(read.buffer).toBe(buffer)
    for (const use of [
      () => checkpoint.tensor('weight'),
      () => unread.buffer,
      () => unread.data,
      () => slice.buffer,
      () => checkpoint.share(),
      () => checkpoint.residency(),
      () => checkpoint.evict(),
      () => checkpoint.prefetch(),
      () => checkpoint.lock(),
    ]) {
      expect(await refusal(async () => use())).toMatchObject({ code: 'CHECKPOINT_CLOSED' })
    }
    expect(checkpoint.has('weight')).toBe(true)
  })

  test('adopt() in the same thread gives the same memory, which outlives the first', async () => {
    const { checkpoint } = await open(backing)
    const adopted = Checkpoint.adopt(checkpoint.share())
    expect(adopted.label).toBe(checkpoint.label)
    expect(adopted.names).toEqual(checkpoint.names)
    checkpoint.close()
    for (const raw of ALL) expect(bytesOf(adopted.tensor(raw.name).buffer)).toEqual(raw.bytes)
    adopted.close()
  })

  test('adopt() in a worker gives the same tensors, and close() here changes nothing there', async () => {
    const { checkpoint } = await open(backing)
    const worker = adoptingWorker(checkpoint.share())
    expect(await worker.ask('backing')).toBe(backing)
    checkpoint.close()
    expect(await worker.ask('digest')).toEqual(
      ALL.map(({ name, dtype, shape, bytes }) => ({ name, dtype, shape, sha256: sha256(bytes) })),
    )
    // A buffer that came from the worker stays, whatever the worker closes.
    const buffer = (await worker.ask('buffer', 'bias')) as SharedArrayBuffer
    await worker.ask('close')
    expect(bytesOf(buffer)).toEqual(SECOND[0]!.bytes)
    expect(await refusal(worker.ask('digest'))).toMatchObject({ code: 'CHECKPOINT_CLOSED' })
  })
})

test('using closes a checkpoint', async () => {
  const { checkpoint } = await open()
  {
    using inner = checkpoint
    expect(inner.closed).toBe(false)
  }
  expect(checkpoint.closed).toBe(true)
})

test('tensor() hands out frozen shapes, names and shards', async () => {
  const { checkpoint } = await open()
  for (const shared of [checkpoint.names, checkpoint.shards, checkpoint.shards[0], checkpoint.tensor('weight').shape]) {
    expect(Object.isFrozen(shared)).toBe(true)
  }
  checkpoint.close()
})

describe('memory is given back', () => {
  test('at once by close() when no buffer was taken', async () => {
    const { checkpoint, folder } = await open()
    expect(mappingsIn(folder)).toHaveLength(2)
    expect(checkpoint.tensor('weight').name).toBe('weight')
    checkpoint.close()
    expectNothingOpen(folder)
  })

  test('by close() and garbage collection when buffers were', async () => {
    const { checkpoint, folder } = await open()
    for (const view of checkpoint.tensors()) expect(view.data.length).toBeGreaterThanOrEqual(0)
    checkpoint.close()
    expect(mappingsIn(folder)).toHaveLength(2)
    for (let round = 0; round < 20 && mappingsIn(folder).length > 0; round++) {
      await new Promise(setImmediate)
      collectGarbage()
    }
    expectNothingOpen(folder)
  })

  test('when two checkpoints of one folder share mappings and both are closed', async () => {
    const { checkpoint, folder } = await open()
    const again = await openCheckpoint(folder)
    expect(mappingsIn(folder)).toHaveLength(2)
    expect(descriptorsIn(folder)).toHaveLength(2)
    checkpoint.close()
    expect(bytesOf(again.tensor('bias').slice(null).buffer)).toEqual(SECOND[0]!.bytes)
    again.close()
  })

  test('1,000 times without growth', async () => {
    const folder = temporaryFolder()
    writeSharded(folder, [FIRST, SECOND])
    const before = mappingCount()
    for (let round = 0; round < 1000; round++) {
      using checkpoint = await openCheckpoint(folder)
      using adopted = Checkpoint.adopt(checkpoint.share())
      expect(adopted.tensor('bias').byteLength).toBe(14)
    }
    expect(mappingCount()).toBeLessThanOrEqual(before)
    expectNothingOpen(folder)
  })
})

describe('adopt() refuses', () => {
  test('a share whose mappings were closed before', async () => {
    const { checkpoint, folder } = await open()
    const share = checkpoint.share()
    checkpoint.close()
    expect((await refusal(() => Checkpoint.adopt(share))).code).toBe('MAPPING_CLOSED')
    expectNothingOpen(folder)
  })

  test('a share in which one mapping is gone, and keeps none of the others', async () => {
    const { checkpoint, folder } = await open()
    const { shards, ...share } = checkpoint.share()
    const gone = { backing: 'file', id: 2 ** 31, path: 'gone' } as const
    expect((await refusal(() => Checkpoint.adopt({ ...share, shards: [shards[0]!, gone] }))).code).toBe(
      'MAPPING_CLOSED',
    )
    checkpoint.close()
    expectNothingOpen(folder)
  })

  test('a share whose directory is none', async () => {
    const { checkpoint } = await open()
    const share = { ...checkpoint.share(), directory: new SharedArrayBuffer(8) }
    expect((await refusal(() => Checkpoint.adopt(share))).code).toBe('DIRECTORY_INVALID')
    checkpoint.close()
  })
})

test('a checkpoint without tensors can be opened, asked and closed', async () => {
  const folder = temporaryFolder()
  const path = write(folder, 'model.safetensors', fileOf([], { metadata: { format: 'pt' } }))
  using checkpoint = await openCheckpoint(path)
  expect(checkpoint.names).toEqual([])
  expect(checkpoint.byteLength).toBe(0)
  expect([...checkpoint.shards[0]!.metadata!]).toEqual([['format', 'pt']])
  expect(await checkpoint.prefetch()).toEqual({ byteLength: 0, residentBytes: 0 })
  expect((await refusal(() => checkpoint.tensor('a'))).code).toBe('TENSOR_NOT_FOUND')
})
