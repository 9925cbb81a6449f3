import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type Checkpoint, openCheckpoint } from '../src/index.ts'
import { adoptingWorker, HAS_ADDON, rawFile, refusal, runChild, temporaryFolder } from './support.ts'

const GIBIBYTE = 2 ** 30

/** How many elements a typed array of this Node can have. */
const INDEXES_MORE = canMake(2 ** 32 + 1)

function canMake(length: number): boolean {
  try {
    return new Uint8Array(new SharedArrayBuffer(length)).length === length
  } catch {
    return false
  }
}

/** Writes one sparse shard; `values` are put at bytes counted from the data's first. */
function sparseShard(header: object, dataByteLength: number, values: ReadonlyMap<number, Uint8Array>): string {
  const path = join(temporaryFolder(), 'model.safetensors')
  const start = rawFile(JSON.stringify(header))
  const descriptor = openSync(path, 'w')
  writeSync(descriptor, start)
  ftruncateSync(descriptor, start.byteLength + dataByteLength)
  for (const [at, bytes] of values) writeSync(descriptor, bytes, 0, bytes.byteLength, start.byteLength + at)
  closeSync(descriptor)
  return path
}

function floats(...values: readonly number[]): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer)
}

describe('a shard of 6 GiB with a tensor of 5 GiB', () => {
  const COUNT = (5 * GIBIBYTE) / 4
  const BEYOND = GIBIBYTE + 5 // an element beyond 4 GiB
  const PLACES = [0, 5, BEYOND - 1, BEYOND, COUNT - 1]
  const VALUES = [1.5, 0, 0, 42.25, -3.5]

  async function open(): Promise<Checkpoint> {
    const header = {
      small: { dtype: 'U8', shape: [3], data_offsets: [0, 3] },
      large: { dtype: 'F32', shape: [5, COUNT / 5], data_offsets: [3, 3 + 5 * GIBIBYTE] },
      last: { dtype: 'BF16', shape: [GIBIBYTE / 2], data_offsets: [3 + 5 * GIBIBYTE, 3 + 6 * GIBIBYTE] },
    }
    const values = new Map([
      [0, Uint8Array.of(1, 2, 3)],
      [3, floats(1.5)],
      [3 + BEYOND * 4, floats(42.25)],
      [3 + 5 * GIBIBYTE - 4, floats(-3.5)],
      [3 + 6 * GIBIBYTE - 2, Uint8Array.of(0x80, 0x3f)],
    ])
    return openCheckpoint(sparseShard(header, 3 + 6 * GIBIBYTE, values))
  }

  test('has the right values in this thread', async () => {
    using checkpoint = await open()
    const { data, byteLength } = checkpoint.tensor('large')
    expect([byteLength, data.length, data.byteOffset]).toEqual([5 * GIBIBYTE, COUNT, 0])
    expect(PLACES.map((place) => data[place])).toEqual(VALUES)
    expect([...checkpoint.tensor('small').data]).toEqual([1, 2, 3])
    expect(checkpoint.tensor('last').data.at(-1)).toBe(0x3f80)
  })

  test('has them in a worker that adopted, and through postMessage of view.data and view.buffer', async () => {
    using checkpoint = await open()
    const worker = adoptingWorker(checkpoint.share())
    expect(await worker.ask('elements', 'large', ...PLACES)).toEqual(VALUES)
    expect(await worker.ask('elements', 'last', GIBIBYTE / 2 - 1)).toEqual([0x3f80])
    // A typed array that is posted keeps the low 32 bits of its length: whole beyond 4 GiB of the file, not above 4 GiB.
    const part = checkpoint.tensor('large').slice(4)
    expect(await worker.ask('elementsOf', part.data, BEYOND - COUNT * 0.8, COUNT / 5 - 1)).toEqual([42.25, -3.5])
    expect(await worker.ask('elementsOf', checkpoint.tensor('last').data, GIBIBYTE / 2 - 1)).toEqual([0x3f80])
    expect(await worker.ask('floatsOf', checkpoint.tensor('large').buffer, ...PLACES)).toEqual(VALUES)
  })

  test.runIf(HAS_ADDON)('has them in slices beyond 4 GiB, copied and not', async () => {
    using checkpoint = await open()
    const view = checkpoint.tensor('large')
    const column = BEYOND - COUNT * 0.8
    const row = view.slice(4, [column - 1, column + 2])
    expect(row.copied).toBe(false)
    expect([...row.toFloat32()]).toEqual([0, 42.25, 0])
    const columns = view.slice(null, [column, column + 2])
    expect(columns.copied).toBe(true)
    expect([...columns.data]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 42.25, 0])
  })
})

describe('a U8 tensor above 2^32 elements', () => {
  const COUNT = 2 ** 32 + 64

  async function open(): Promise<Checkpoint> {
    const header = { bytes: { dtype: 'U8', shape: [COUNT / 2, 2], data_offsets: [0, COUNT] } }
    return openCheckpoint(sparseShard(header, COUNT, new Map([[2 ** 32 + 10, Uint8Array.of(7, 8, 9)]])))
  }

  test.skipIf(INDEXES_MORE)('is TENSOR_TOO_LARGE where no typed array can have so many', async () => {
    using checkpoint = await open()
    const view = checkpoint.tensor('bytes')
    const error = await refusal(() => view.data)
    expect(error).toMatchObject({ code: 'TENSOR_TOO_LARGE', tensor: 'bytes' })
    expect(error.message).toContain(process.version)
    expect((await refusal(() => view.toFloat32())).code).toBe('TENSOR_TOO_LARGE')
    expect(view.buffer.byteLength).toBe(COUNT)
  })

  test.skipIf(!INDEXES_MORE)('is a Uint8Array where one can have so many', async () => {
    using checkpoint = await open()
    expect(checkpoint.tensor('bytes').data[2 ** 32 + 11]).toBe(8)
  })

  test.runIf(HAS_ADDON)('gives its slices in any case, here and in a worker', async () => {
    using checkpoint = await open()
    const slice = checkpoint.tensor('bytes').slice([2 ** 31 + 4, 2 ** 31 + 7])
    expect(slice.copied).toBe(false)
    expect([...slice.data]).toEqual([0, 0, 7, 8, 9, 0])
    expect([...slice.toFloat32()]).toEqual([0, 0, 7, 8, 9, 0])
    expect([...checkpoint.tensor('bytes').slice([2 ** 31 + 4, 2 ** 31 + 7], 1).data]).toEqual([0, 8, 0])
    const worker = adoptingWorker(checkpoint.share())
    expect(await worker.ask('bytes', 'bytes', 2 ** 31 + 5, 2 ** 31 + 7)).toEqual([7, 8, 9, 0])
  })
})

test.skipIf(INDEXES_MORE)('a copied slice above 2^32 bytes is TENSOR_TOO_LARGE on this Node', async () => {
  const rows = 2 ** 30
  const header = { a: { dtype: 'U8', shape: [rows, 6], data_offsets: [0, rows * 6] } }
  using checkpoint = await openCheckpoint(sparseShard(header, rows * 6, new Map()))
  const error = await refusal(() => checkpoint.tensor('a').slice(null, [0, 5]))
  expect(error).toMatchObject({ code: 'TENSOR_TOO_LARGE', tensor: 'a' })
})

test.runIf(HAS_ADDON)('openCheckpoint() with too little address space says so and leaves nothing mapped', async () => {
  const size = 2 ** 41
  const header = { a: { dtype: 'U8', shape: [size], data_offsets: [0, size] } }
  const path = sparseShard(header, size, new Map())
  const prefix = ['sh', '-c', 'ulimit -v 1000000000 && exec "$@"', 'sh']
  const { value } = await runChild('open.mjs', [path], { prefix })
  expect(value).toMatchObject({ error: { code: 'MAP_FAILED', path }, mappings: 0 })
  expect((value as { error: { message: string } }).error.message).toContain('ulimit -v')
})
