import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { DTYPE_NAMES } from '@onecopy/safetensors'
import { describe, expect, test } from 'vitest'
import { collectUntil } from '../../../test/until.ts'
import { openCheckpoint, type Progress, saveCheckpoint, type TensorToSave } from '../src/index.ts'
import {
  bytesOf,
  descriptorsIn,
  fileOf,
  HAS_ADDON,
  noise,
  type RawTensor,
  refusal,
  runChild,
  startChild,
  temporaryFolder,
  tensor,
  write,
  writeIndex,
} from './support.ts'

const INDEX = 'model.safetensors.index.json'

function toSave({ bytes, ...spec }: RawTensor): TensorToSave {
  return { ...spec, data: bytes }
}

/** Six tensors of 100 bytes, each filled with the number of its version. */
function version(number: number): TensorToSave[] {
  return Array.from({ length: 6 }, (_, at) => ({
    ...{ name: `layer.${at}`, dtype: 'U8' as const, shape: [100] },
    data: new Uint8Array(100).fill(number),
  }))
}

/** The files of a folder with their bytes. */
function contentOf(folder: string): Map<string, string> {
  const names = readdirSync(folder).sort()
  return new Map(names.map((name) => [name, readFileSync(join(folder, name)).toString('latin1')]))
}

describe('saveCheckpoint()', () => {
  const ODD = ['', '__proto__', 'constructor', 'a\0b', 'x'.repeat(10_000), 'größe', '\u{1f600}', 'a/../b', '"\\']
  const TENSORS = [
    ...DTYPE_NAMES.map((dtype) => tensor(dtype, dtype, [3, 4])),
    ...ODD.map((name) => tensor(name, 'U8', [5])),
    tensor('scalar', 'BF16', []),
    tensor('nothing', 'F32', [4, 0]),
  ]

  test.each([
    ['one file', undefined],
    ['many shards', 100],
  ])('writes all dtypes and odd names to %s, and openCheckpoint() reads the same', async (_, maxShardBytes) => {
    const folder = join(temporaryFolder(), 'made', 'by', 'save')
    const saved = await saveCheckpoint(folder, TENSORS.map(toSave), { ...(maxShardBytes && { maxShardBytes }) })
    expect(saved.shardPaths.length > 1).toBe(maxShardBytes !== undefined)
    using checkpoint = await openCheckpoint(folder)
    expect([...checkpoint.names].sort()).toEqual(TENSORS.map(({ name }) => name).sort())
    expect(checkpoint.byteLength).toBe(saved.byteLength)
    for (const raw of TENSORS) {
      const view = checkpoint.tensor(raw.name)
      expect(view).toMatchObject({ dtype: raw.dtype, shape: raw.shape })
      expect(bytesOf(view.buffer)).toEqual(raw.bytes)
    }
    for (const shard of checkpoint.shards) expect(shard.metadata).toEqual(new Map([['format', 'pt']]))
  })

  test('writes shards and index as huggingface_hub does', async () => {
    const folder = temporaryFolder()
    const sizes = { b: 60, a: 50, large: 101, c: 50, d: 1 }
    const tensors = Object.entries(sizes).map(([name, size]) => toSave(tensor(name, 'U8', [size])))
    const saved = await saveCheckpoint(folder, tensors, { maxShardBytes: 100, metadata: { format: 'pt', by: 'test' } })
    const shard = (at: number): string => `model-0000${at}-of-00004.safetensors`
    expect(saved).toEqual({
      shardPaths: [1, 2, 3, 4].map((at) => join(folder, shard(at))),
      indexPath: join(folder, INDEX),
      byteLength: 262,
    })
    const index = {
      metadata: { by: 'test', format: 'pt', total_size: 262 },
      weight_map: { a: shard(3), b: shard(1), c: shard(3), d: shard(4), large: shard(2) },
    }
    expect(readFileSync(join(folder, INDEX), 'utf8')).toBe(JSON.stringify(index, null, 2))
    expect(readdirSync(folder).sort()).toEqual([shard(1), shard(2), shard(3), shard(4), INDEX])
  })

  test('writes one shard as a single file without an index, and without metadata where none is wanted', async () => {
    const folder = temporaryFolder()
    const saved = await saveCheckpoint(folder, version(1), { metadata: null })
    expect(saved.indexPath).toBeNull()
    expect(readdirSync(folder)).toEqual(['model.safetensors'])
    using checkpoint = await openCheckpoint(folder)
    expect(checkpoint.shards[0]?.metadata).toBeNull()
  })

  test('writes a checkpoint without tensors', async () => {
    const folder = temporaryFolder()
    await saveCheckpoint(folder, [])
    using checkpoint = await openCheckpoint(folder)
    expect(checkpoint.tensorCount).toBe(0)
  })

  test('uses stem and variant, and openCheckpoint() finds them', async () => {
    const folder = temporaryFolder()
    const options = { stem: 'diffusion_pytorch_model', variant: 'fp16' }
    await saveCheckpoint(folder, version(1), { ...options, maxShardBytes: 300 })
    expect(readdirSync(folder).sort()).toEqual([
      'diffusion_pytorch_model.fp16-00001-of-00002.safetensors',
      'diffusion_pytorch_model.fp16-00002-of-00002.safetensors',
      'diffusion_pytorch_model.safetensors.index.fp16.json',
    ])
    using checkpoint = await openCheckpoint(folder, { variant: 'fp16' })
    expect(checkpoint.tensorCount).toBe(6)
  })

  test('takes data from functions, one at a time, and from views of another checkpoint', async () => {
    const folder = temporaryFolder()
    let open = 0
    const lazy = version(7).map(({ data, ...spec }) => ({
      ...spec,
      data: async () => {
        expect(open++).toBe(0)
        await new Promise(setImmediate)
        open--
        return data as Uint8Array
      },
    }))
    await saveCheckpoint(join(folder, 'a'), lazy)
    using checkpoint = await openCheckpoint(join(folder, 'a'))
    await saveCheckpoint(
      join(folder, 'b'),
      [...checkpoint.tensors()].map((view) => view),
      { maxShardBytes: 200 },
    )
    using again = await openCheckpoint(join(folder, 'b'))
    for (const { buffer } of again.tensors()) expect(bytesOf(buffer)).toEqual(new Uint8Array(100).fill(7))
  })

  test('writes data that stands in the middle of a buffer', async () => {
    const folder = temporaryFolder()
    const bytes = noise(64)
    await saveCheckpoint(folder, [{ name: 'a', dtype: 'U8', shape: [10], data: bytes.subarray(7, 17) }])
    using checkpoint = await openCheckpoint(folder)
    expect(bytesOf(checkpoint.tensor('a').buffer)).toEqual(bytes.slice(7, 17))
  })

  test('reports how far it is, up to all bytes', async () => {
    const seen: Progress[] = []
    await saveCheckpoint(temporaryFolder(), version(1), { onProgress: (progress) => seen.push(progress) })
    expect(seen.at(-1)).toEqual({ doneBytes: 600, totalBytes: 600 })
  })

  test('removes the shards and the index of an earlier save, and nothing else', async () => {
    const folder = temporaryFolder()
    const others = ['README.md', 'adapter_model.safetensors', 'model.fp16.safetensors', 'model-x.safetensors']
    for (const name of others) write(folder, name, fileOf([]))
    for (const [maxShardBytes, shards] of [
      [200, 3],
      [300, 2],
      [600, 1],
      [100, 6],
    ] as const) {
      await saveCheckpoint(folder, version(shards), { maxShardBytes })
      const own = readdirSync(folder).filter((name) => !others.includes(name))
      expect(own).toHaveLength(shards === 1 ? 1 : shards + 1)
      using checkpoint = await openCheckpoint(folder)
      expect(checkpoint.shards).toHaveLength(shards)
      expect(checkpoint.tensor('layer.5').data[0]).toBe(shards)
    }
    expect(readdirSync(folder)).toEqual(expect.arrayContaining(others))
  })

  test('removes earlier shards whose stem has a dot', async () => {
    const folder = temporaryFolder()
    await saveCheckpoint(folder, version(1), { stem: 'my.model', maxShardBytes: 200 })
    await saveCheckpoint(folder, version(2), { stem: 'my.model' })
    expect(readdirSync(folder)).toEqual(['my.model.safetensors'])
  })

  test('over a folder that is mapped leaves the old bytes to those who have them', async () => {
    const folder = temporaryFolder()
    await saveCheckpoint(folder, version(1), { maxShardBytes: 200 })
    using old = await openCheckpoint(folder)
    expect(old.tensor('layer.0').data[0]).toBe(1)
    await saveCheckpoint(folder, version(2), { maxShardBytes: 200 })
    using fresh = await openCheckpoint(folder)
    for (const view of old.tensors()) expect(bytesOf(view.buffer)).toEqual(new Uint8Array(100).fill(1))
    for (const view of fresh.tensors()) expect(bytesOf(view.buffer)).toEqual(new Uint8Array(100).fill(2))
  })

  test('writes the views of a checkpoint over that checkpoint', async () => {
    const folder = temporaryFolder()
    await saveCheckpoint(folder, version(3))
    using old = await openCheckpoint(folder)
    await saveCheckpoint(folder, old.tensors(), { maxShardBytes: 100 })
    using fresh = await openCheckpoint(folder)
    expect(fresh.shards).toHaveLength(6)
    for (const view of fresh.tensors()) expect(bytesOf(view.buffer)).toEqual(new Uint8Array(100).fill(3))
  })
})

describe('saveCheckpoint() that fails leaves the old checkpoint whole and no other file', () => {
  const broken = (data: TensorToSave['data'] | undefined): TensorToSave[] =>
    version(2).map((spec, at) => (at === 4 ? { ...spec, data: data as TensorToSave['data'] } : spec))
  const boom = new TypeError('boom')

  test.each<[condition: string, code: string, tensors: TensorToSave[]]>([
    ['a data function throws', 'SAVE_FAILED', broken(() => Promise.reject(boom))],
    ['data has the wrong length', 'SAVE_INVALID', broken(new Uint8Array(99))],
    ['a data function gives the wrong length', 'SAVE_INVALID', broken(() => new Uint8Array(101))],
    ['a name comes twice', 'SAVE_INVALID', [...version(2), ...version(2)]],
    ['a tensor is named __metadata__', 'SAFETENSORS_RESERVED_NAME', [{ ...version(2)[0]!, name: '__metadata__' }]],
    ['a name is no Unicode', 'SAFETENSORS_INVALID_HEADER_UTF8', [{ ...version(2)[0]!, name: '\ud800' }]],
    ['a shape is none', 'SAFETENSORS_TENSOR_INVALID_INFO', [{ ...version(2)[0]!, shape: [0.5] }]],
  ])('when %s', async (_, code, tensors) => {
    const folder = temporaryFolder()
    await saveCheckpoint(folder, version(1), { maxShardBytes: 200 })
    const before = contentOf(folder)
    const error = await refusal(saveCheckpoint(folder, tensors, { maxShardBytes: 200 }))
    expect(error.code).toBe(code)
    if (code === 'SAVE_FAILED') expect(error).toMatchObject({ path: folder, cause: boom })
    expect(contentOf(folder)).toEqual(before)
  })

  test.each(['before', 'on the way'])('when it is aborted %s', async (when) => {
    const folder = temporaryFolder()
    await saveCheckpoint(folder, version(1), { maxShardBytes: 200 })
    const before = contentOf(folder)
    const abort = new AbortController()
    const onProgress = ({ doneBytes }: Progress): void => {
      if (doneBytes > 300) abort.abort(boom)
    }
    if (when === 'before') abort.abort(boom)
    const options = { maxShardBytes: 200, signal: abort.signal, onProgress }
    expect(await refusal(saveCheckpoint(folder, version(2), options))).toBe(boom)
    expect(contentOf(folder)).toEqual(before)
  })

  test('when there is no room for it', async () => {
    const folder = temporaryFolder()
    await saveCheckpoint(folder, version(1), { maxShardBytes: 200 })
    const before = contentOf(folder)
    const prefix = ['sh', '-c', 'ulimit -f 200 && exec "$@"', 'sh']
    const { value } = await runChild('save-failing.mjs', [folder], { prefix })
    expect(value).toMatchObject({ code: 'SAVE_FAILED', path: folder, system: 'EFBIG' })
    expect(contentOf(folder)).toEqual(before)
  })

  test('when the folder is a file, or something else stands where the index must go', async () => {
    const root = temporaryFolder()
    const file = write(root, 'file', '')
    expect(await refusal(saveCheckpoint(file, version(1)))).toMatchObject({ code: 'SAVE_FAILED', path: file })
    const folder = join(root, 'folder')
    await saveCheckpoint(folder, version(1))
    mkdirSync(join(folder, INDEX))
    const before = readdirSync(folder).sort()
    const error = await refusal(saveCheckpoint(folder, version(2), { maxShardBytes: 200 }))
    expect(error).toMatchObject({ code: 'SAVE_FAILED', path: folder })
    expect(readdirSync(folder).sort()).toEqual(before)
    using checkpoint = await openCheckpoint(join(folder, 'model.safetensors'))
    expect(checkpoint.tensor('layer.0').data[0]).toBe(1)
  })
})

test.runIf(HAS_ADDON)(
  'a reader that opens while another process saves 50 times gets one version, or an error',
  async () => {
    const folder = temporaryFolder()
    const start = Array.from({ length: 6 }, (_, at) => ({
      ...{ name: `layer.${at}`, dtype: 'U8' as const, shape: [8192] },
      data: new Uint8Array(8192).fill(200),
    }))
    await saveCheckpoint(folder, start)
    const readers = ['file', 'sealed', 'heap'].map((backing) =>
      startChild('open-loop.mjs', [folder, JSON.stringify({ backing }), 'read']),
    )
    for (const reader of readers) await reader.said('ready')
    const saver = await startChild('save-loop.mjs', [folder, '50']).ended
    expect(saver).toMatchObject({ code: 0, signal: null, errors: '' })
    for (const reader of readers) {
      reader.write('stop')
      const { code, signal, output, errors } = await reader.ended
      expect({ code, signal, errors }).toEqual({ code: 0, signal: null, errors: '' })
      const summary = JSON.parse(output.trim().split('\n').at(-1)!)
      expect(summary).toMatchObject({ mixtures: [], strange: [] })
      expect(summary.versions).toEqual(expect.arrayContaining([200, 50]))
      const documented = ['SOURCE_AMBIGUOUS', 'SOURCE_NOT_FOUND', 'INDEX_UNREADABLE', 'SHARD_NOT_FOUND']
      documented.push('CHECKPOINT_CHANGED', 'SHARD_FOREIGN', 'TENSOR_IN_OTHER_SHARD', 'TENSOR_IN_TWO_SHARDS')
      expect(Object.keys(summary.errors).filter((seen) => !documented.includes(seen))).toEqual([])
    }
  },
)

test('saveCheckpoint() beside a foreign index of another stem leaves it alone', async () => {
  const folder = temporaryFolder()
  writeIndex(folder, { a: 'x' }, 'other.safetensors.index.json')
  await saveCheckpoint(folder, version(1))
  expect(readdirSync(folder)).toContain('other.safetensors.index.json')
})

test('saveCheckpoint() gives up where no folder can be made, and makes several where they can', async () => {
  const tensors = [{ name: 'a', dtype: 'U8', shape: [1], data: new Uint8Array(1) }] as const
  expect(await refusal(saveCheckpoint('/proc/none/of/it', tensors))).toMatchObject({ code: 'SAVE_FAILED' })
  const deep = join(temporaryFolder(), 'a', 'b')
  await Promise.allSettled([saveCheckpoint(deep, tensors), saveCheckpoint(deep, tensors, { stem: 'other' })])
  using saved = await openCheckpoint(join(deep, 'other.safetensors'))
  expect(saved.names).toEqual(['a'])
})

test.runIf(HAS_ADDON)('threads that are ended while they save leave no file open', async () => {
  const folder = temporaryFolder()
  for (let round = 0; round < 12; round++) {
    const threads = Array.from({ length: 4 }, () => {
      return new Worker(new URL('./children/saving-thread.mjs', import.meta.url), { workerData: folder })
    })
    await Promise.all(threads.map((thread) => once(thread, 'message')))
    // Each in the midst of another step.
    await sleep(round * 3)
    await Promise.all(threads.map((thread) => thread.terminate()))
  }
  await collectUntil(() => descriptorsIn(folder).length === 0)
})
