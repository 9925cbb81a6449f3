import { mkdirSync } from 'node:fs'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Checkpoint, openCheckpoint, type Progress } from '../src/index.ts'
import { expectNothingOpen, refusal, temporaryFolder, tensor, writeSharded } from './support.ts'

const MEGABYTE = 2 ** 20
const SHARDS = [
  [tensor('a', 'U8', [3 * MEGABYTE]), tensor('b', 'U8', [MEGABYTE])],
  [tensor('c', 'U8', [2 * MEGABYTE]), tensor('empty', 'F32', [0])],
]

async function open(backing: 'file' | 'heap' = 'file'): Promise<Checkpoint> {
  const folder = temporaryFolder()
  mkdirSync(folder, { recursive: true })
  writeSharded(folder, SHARDS)
  const checkpoint = await openCheckpoint(folder, { backing })
  onTestFinished(() => checkpoint.close())
  return checkpoint
}

describe.each(['prefetch', 'lock'] as const)('Checkpoint.%s()', (method) => {
  test('brings everything into RAM and reports how far it is', async () => {
    const checkpoint = await open()
    const seen: Progress[] = []
    const residency = await checkpoint[method]({ onProgress: (progress) => seen.push(progress) })
    expect(residency).toEqual({ byteLength: 6 * MEGABYTE, residentBytes: 6 * MEGABYTE })
    expect(seen.at(-1)).toEqual({ doneBytes: 6 * MEGABYTE, totalBytes: 6 * MEGABYTE })
    expect(seen.map(({ doneBytes }) => doneBytes)).toEqual(seen.map(({ doneBytes }) => doneBytes).sort((a, b) => a - b))
  })

  test('of some tensors counts only these', async () => {
    const checkpoint = await open()
    const seen: Progress[] = []
    await checkpoint[method]({ tensors: ['c', 'b', 'empty'], onProgress: (progress) => seen.push(progress) })
    expect(seen.at(-1)).toEqual({ doneBytes: 3 * MEGABYTE, totalBytes: 3 * MEGABYTE })
    const none: Progress[] = []
    await checkpoint[method]({ tensors: new Set<string>(), onProgress: (progress) => none.push(progress) })
    expect(none).toEqual([])
  })

  test('refuses a name that there is not, before it reads anything', async () => {
    const checkpoint = await open()
    const seen: Progress[] = []
    const reading = checkpoint[method]({ tensors: ['a', 'd'], onProgress: (progress) => seen.push(progress) })
    expect(await refusal(reading)).toMatchObject({ code: 'TENSOR_NOT_FOUND', tensor: 'd' })
    expect(seen).toEqual([])
  })

  test('stops when it is aborted, before and on the way', async () => {
    const checkpoint = await open()
    const reason = new TypeError('enough')
    expect(await refusal(checkpoint[method]({ signal: AbortSignal.abort(reason) }))).toBe(reason)
    const abort = new AbortController()
    const seen: Progress[] = []
    const onProgress = (progress: Progress): void => {
      seen.push(progress)
      abort.abort(reason)
    }
    expect(await refusal(checkpoint[method]({ onProgress, signal: abort.signal }))).toBe(reason)
    expect(seen.every(({ doneBytes, totalBytes }) => doneBytes < totalBytes)).toBe(true)
    expect(checkpoint.tensor('a').data.length).toBe(3 * MEGABYTE)
  })

  test('on heap backing has nothing to do and says that it is done', async () => {
    const checkpoint = await open('heap')
    const seen: Progress[] = []
    const residency = await checkpoint[method]({ onProgress: (progress) => seen.push(progress) })
    expect(residency).toEqual({ byteLength: 6 * MEGABYTE, residentBytes: 6 * MEGABYTE })
    expect(seen.at(-1)).toEqual({ doneBytes: 6 * MEGABYTE, totalBytes: 6 * MEGABYTE })
  })

  test('survives a close() on the way and leaves nothing open', async () => {
    const folder = temporaryFolder()
    writeSharded(folder, SHARDS)
    const checkpoint = await openCheckpoint(folder)
    const reading = checkpoint[method]({ onProgress: () => checkpoint.close() })
    expect(['CHECKPOINT_CLOSED', 'MAPPING_CLOSED']).toContain((await refusal(reading)).code)
    expectNothingOpen(folder)
  })
})

test('Checkpoint.evict() asks the kernel to drop the pages, which come back when they are read', async () => {
  const checkpoint = await open()
  await checkpoint.prefetch()
  const { byteLength, residentBytes } = checkpoint.evict()
  expect(byteLength).toBe(6 * MEGABYTE)
  expect(residentBytes).toBeLessThanOrEqual(byteLength)
  expect(checkpoint.residency().byteLength).toBe(byteLength)
  expect([...checkpoint.tensor('b').slice([0, 4]).data]).toEqual([...SHARDS[0]![1]!.bytes.subarray(0, 4)])
})

test('Checkpoint.evict() and residency() on heap backing change nothing', async () => {
  const checkpoint = await open('heap')
  expect(checkpoint.evict()).toEqual({ byteLength: 6 * MEGABYTE, residentBytes: 6 * MEGABYTE })
  expect(checkpoint.residency()).toEqual({ byteLength: 6 * MEGABYTE, residentBytes: 6 * MEGABYTE })
})
