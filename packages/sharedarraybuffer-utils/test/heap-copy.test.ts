import { openSync, truncateSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { adoptDescriptor, openRegularFile } from '../src/descriptor.ts'
import { copyToHeap, HeapCopy } from '../src/heap-copy.ts'
import { failure, patternBytes, startThread, temporaryFolder, writePattern } from './support.ts'

describe('heap copy', () => {
  const folder = temporaryFolder()
  const byteLength = 10_007
  const path = writePattern(folder, 'weights', byteLength)
  const bytes = patternBytes(byteLength)
  const descriptor = openRegularFile(path)
  afterAll(() => descriptor.close())
  const PARTS = [
    { begin: 0, end: 100 },
    { begin: 101, end: 4099 },
    { begin: 5000, end: 5000 },
    { begin: 9000, end: byteLength },
  ]

  test('copyToHeap() reads each part into a buffer of its own, at odd offsets', async () => {
    const copy = await copyToHeap(descriptor, path, byteLength, PARTS)
    expect(copy).toMatchObject({ backing: 'heap', path, byteLength, closed: false })
    for (const { begin, end } of PARTS) {
      const buffer = copy.buffer(begin, end)
      expect(buffer).toBeInstanceOf(SharedArrayBuffer)
      expect(Buffer.from(buffer).equals(bytes.subarray(begin, end))).toBe(true)
      if (begin !== end) expect(copy.buffer(begin, end)).toBe(buffer)
    }
  })

  test('buffer() copies a range inside a part', async () => {
    const copy = await copyToHeap(descriptor, path, byteLength, PARTS)
    const inner = copy.buffer(102, 200)
    expect(Buffer.from(inner).equals(bytes.subarray(102, 200))).toBe(true)
    expect(inner).not.toBe(copy.buffer(102, 200))
    expect(Buffer.from(copy.buffer(101, 4098)).equals(bytes.subarray(101, 4098))).toBe(true)
    expect(copy.buffer(9999, 9999).byteLength).toBe(0)
  })

  test('buffer() says RANGE_OUT_OF_BOUNDS for what was not read, and for ranges that are none', async () => {
    const copy = await copyToHeap(descriptor, path, byteLength, PARTS)
    for (const [begin, end] of [
      [99, 102],
      [100, 101],
      [4099, 4100],
      [0, byteLength],
      [-1, -1],
      [50, 40],
      [0.5, 3.5],
      [0.5, 0.5],
      [Number.NaN, 1],
      [0, byteLength + 1],
      [byteLength + 1, byteLength + 1],
    ] as const) {
      const error = await failure(() => copy.buffer(begin, end), 'RANGE_OUT_OF_BOUNDS')
      expect(error).toMatchObject({ path, actualBytes: byteLength })
    }
  })

  test('copyToHeap() keeps the longer of two parts with one beginning', async () => {
    const parts = [
      { begin: 3, end: 30 },
      { begin: 3, end: 3 },
      { begin: 3, end: 300 },
      { begin: 3, end: 10 },
    ]
    const copy = await copyToHeap(descriptor, path, byteLength, parts)
    expect(Buffer.from(copy.buffer(3, 300)).equals(bytes.subarray(3, 300))).toBe(true)
    expect(Buffer.from(copy.buffer(3, 10)).equals(bytes.subarray(3, 10))).toBe(true)
  })

  test('copyToHeap() says RANGE_OUT_OF_BOUNDS for parts outside the file', async () => {
    for (const part of [
      { begin: -1, end: 5 },
      { begin: 5, end: 1 },
      { begin: 0, end: byteLength + 1 },
      { begin: 0, end: Number.NaN },
    ]) {
      await failure(() => copyToHeap(descriptor, path, byteLength, [part]), 'RANGE_OUT_OF_BOUNDS')
    }
  })

  test('copyToHeap() says FILE_CHANGED with both sizes when the file is shorter than said', async () => {
    const file = writePattern(folder, 'cut', 5000)
    using own = openRegularFile(file)
    truncateSync(file, 4000)
    for (const begin of [0, 3999, 4500]) {
      const error = await failure(() => copyToHeap(own, file, 5000, [{ begin, end: 5000 }]), 'FILE_CHANGED')
      expect(error).toMatchObject({ path: file, actualBytes: 4000, expectedBytes: 5000 })
      expect(error.message).toContain('4000')
      expect(error.message).toContain('5000')
    }
  })

  test('copyToHeap() says FILE_READ_FAILED with the cause', async () => {
    using folderItself = adoptDescriptor(openSync(folder, 'r'))
    const attempt = () => copyToHeap(folderItself, path, byteLength, [{ begin: 0, end: 1 }])
    expect(await failure(attempt, 'FILE_READ_FAILED')).toMatchObject({ path, cause: { code: 'EISDIR' } })
    const parts = [{ begin: 0, end: 2 ** 52 }]
    const refused = await failure(() => copyToHeap(descriptor, path, 2 ** 52, parts), 'FILE_READ_FAILED')
    expect(refused.message).toContain(`${2 ** 52} bytes`)
  })

  test('copyToHeap() reports progress that grows to the sum of the parts', async () => {
    const progress: number[] = []
    await copyToHeap(descriptor, path, byteLength, PARTS, { onProgress: (readBytes) => progress.push(readBytes) })
    expect(progress).toEqual([...progress].sort((a, b) => a - b))
    expect(progress.at(-1)).toBe(100 + 3998 + 1007)
  })

  test('copyToHeap() rejects with the reason of a signal, before and between reads', async () => {
    const signal = AbortSignal.abort('before')
    await expect(copyToHeap(descriptor, path, byteLength, PARTS, { signal })).rejects.toBe('before')
    await expect(copyToHeap(descriptor, path, byteLength, [], { signal })).rejects.toBe('before')
    const controller = new AbortController()
    const progress: number[] = []
    const onProgress = (readBytes: number): void => {
      progress.push(readBytes)
      controller.abort('between')
    }
    const options = { signal: controller.signal, onProgress }
    await expect(copyToHeap(descriptor, path, byteLength, PARTS, options)).rejects.toBe('between')
    expect(progress).toEqual([100])
  })

  test('close() is idempotent, MAPPING_CLOSED follows, and buffers and shares live on', async () => {
    const copy = await copyToHeap(descriptor, path, byteLength, PARTS)
    const buffer = copy.buffer(0, 100)
    const share = copy.share()
    copy.close()
    copy[Symbol.dispose]()
    expect(copy.closed).toBe(true)
    await failure(() => copy.buffer(0, 100), 'MAPPING_CLOSED')
    await failure(() => copy.buffer(0, 0), 'MAPPING_CLOSED')
    await failure(() => copy.share(), 'MAPPING_CLOSED')
    expect(Buffer.from(buffer).equals(bytes.subarray(0, 100))).toBe(true)
    const adopted = new HeapCopy(share.path, share.byteLength, share.parts)
    expect(adopted.buffer(0, 100)).toBe(buffer)
  })

  test('share() goes to a thread without a copy: what one writes the other sees', async () => {
    const copy = await copyToHeap(descriptor, path, byteLength, PARTS)
    const own = new Uint8Array(copy.buffer(101, 4099))
    const thread = startThread(
      `
      const { path, byteLength, parts } = workerData
      const copy = new memory.HeapCopy(path, byteLength, parts)
      const view = new Uint8Array(copy.buffer(101, 4099))
      const read = view[0]
      view[1] = 200
      parentPort.once('message', () => parentPort.postMessage([read, view[2]]))
      parentPort.postMessage('ready')`,
      copy.share(),
    )
    const next = (): Promise<unknown> => new Promise((resolve) => thread.once('message', resolve))
    await next()
    expect(own[1]).toBe(200)
    own[2] = 201
    const seen = next()
    thread.postMessage('look')
    expect(await seen).toEqual([bytes[101], 201])
    await thread.terminate()
  })
})
