import { mkdirSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Checkpoint, openCheckpoint, type Progress } from '../src/index.ts'
import { readSteps } from '../src/residency.ts'
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

describe('readSteps()', () => {
  const at = (shard: number, begin: number, end: number) => ({ shard, begin, end })

  test('joins neighbours at most a gap apart, and begins a step with each other shard', () => {
    const ranges = [at(0, 0, 10), at(0, 15, 20), at(0, 26, 30), at(1, 30, 40), at(0, 30, 40)]
    expect(readSteps(ranges, 5)).toEqual([
      {
        shard: 0,
        ranges: [
          { begin: 0, end: 20 },
          { begin: 26, end: 30 },
        ],
      },
      { shard: 1, ranges: [{ begin: 30, end: 40 }] },
      { shard: 0, ranges: [{ begin: 30, end: 40 }] },
    ])
    expect(readSteps([at(0, 0, 10), at(0, 10, 20)], 0)).toEqual([{ shard: 0, ranges: [{ begin: 0, end: 20 }] }])
    expect(readSteps([at(0, 0, 1), at(0, 4097, 4098)])).toEqual([{ shard: 0, ranges: [{ begin: 0, end: 4098 }] }])
    expect(readSteps([at(0, 0, 1), at(0, 4098, 4099)])[0]!.ranges).toHaveLength(2)
    expect(readSteps([at(0, 10, 20), at(0, 0, 10)])[0]!.ranges).toHaveLength(2)
    expect(readSteps([at(0, 0, 10), at(0, 2, 5)])).toEqual([{ shard: 0, ranges: [{ begin: 0, end: 10 }] }])
    expect(readSteps([at(0, 5, 5), at(1, 5, 5)])).toEqual([])
  })

  test('covers all ranges in their order, and nothing more than gaps', () => {
    const range = fc
      .tuple(fc.nat(2), fc.nat(60), fc.nat(12))
      .map(([shard, begin, length]) => at(shard, begin, begin + length))
    fc.assert(
      fc.property(fc.array(range, { maxLength: 20 }), fc.nat(6), (ranges, maxGapBytes) => {
        const steps = readSteps(ranges, maxGapBytes)
        const flat = steps.flatMap(({ shard, ranges: inStep }) => inStep.map((one) => at(shard, one.begin, one.end)))
        const covers = (outer: (typeof flat)[number], { shard, begin, end }: (typeof flat)[number]): boolean =>
          outer.shard === shard && outer.begin <= begin && end <= outer.end
        // Every range is inside one that is read, and those come in the order of the first that each of them covers.
        let place = 0
        for (const wanted of ranges) {
          if (wanted.begin === wanted.end) continue
          if (!covers(flat[place]!, wanted)) place++
          expect(covers(flat[place]!, wanted)).toBe(true)
        }
        expect(flat.length).toBe(flat.length === 0 ? 0 : place + 1)
        for (const { shard, begin, end } of flat) {
          let gap = 0
          for (let byte = begin; byte < end; byte++) {
            gap = ranges.some((one) => covers(one, at(shard, byte, byte + 1))) ? 0 : gap + 1
            expect(gap).toBeLessThanOrEqual(maxGapBytes)
          }
          expect(gap).toBe(0)
        }
        for (const [number, step] of steps.entries()) expect(step.shard).not.toBe(steps[number - 1]?.shard)
      }),
    )
  })
})

test('Checkpoint.prefetch() reads what is between tensors only up to the gap that is set', async () => {
  const checkpoint = await open()
  const totals: number[] = []
  const onProgress = ({ totalBytes }: Progress): unknown => totals.push(totalBytes)
  const part = await checkpoint.select({ tensors: [{ name: 'a', ranges: [[0, MEGABYTE]] }, { name: 'b' }] })
  await part.prefetch({ onProgress })
  await part.prefetch({ onProgress, maxGapBytes: 2 * MEGABYTE })
  expect([totals[0], totals.at(-1)]).toEqual([2 * MEGABYTE, 4 * MEGABYTE])
  expect(part.residency()).toEqual({ byteLength: 2 * MEGABYTE, residentBytes: 2 * MEGABYTE })
  part.close()
})

test('Checkpoint.lock() of a selection that fails unlocks all that it had locked', async () => {
  const checkpoint = await open()
  const part = await checkpoint.select({ tensors: [{ name: 'c' }, { name: 'b' }, { name: 'a' }] })
  const reason = new TypeError('enough')
  const abort = new AbortController()
  const locking = part.lock({ signal: abort.signal, onProgress: () => abort.abort(reason) })
  expect(await refusal(locking)).toBe(reason)
  expect(/^VmLck:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]).toBe('0')
  part.close()
})
