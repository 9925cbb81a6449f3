import {
  chmodSync,
  closeSync,
  copyFileSync,
  fsyncSync,
  openSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { expect, type TestContext, test } from 'vitest'
import { addon } from '../src/addon.ts'
import { type FileMapping, mapFile } from '../src/mapping.ts'
import { mappingMemory } from '../src/process-memory.ts'
import { evict, lock, populate, prefetch, residentBytes, splitIntoJobs, unlock } from '../src/residency.ts'
import {
  ask,
  BECOME_NOBODY,
  CAN_BECOME_NOBODY,
  describeWithAddon,
  descriptorsOf,
  failure,
  hasCommand,
  mapsOf,
  temporaryFolder,
  writePattern,
} from './support.ts'

const PAGE = 4096
const MIB = 2 ** 20
const METHODS = ['populate', 'read'] as const

describeWithAddon('residency', () => {
  const folder = temporaryFolder()
  const byteLength = 72 * MIB + 123 // three jobs, and a page that is not full
  const path = join(folder, 'weights')
  writeFileSync(path, Buffer.alloc(byteLength, 'weights '))
  flush(path)

  /** A mapping of which nothing is in RAM; the test is skipped where the file system keeps its pages. */
  async function cold(context: TestContext): Promise<FileMapping> {
    const mapping = mapFile(path)
    context.onTestFinished(() => mapping.close())
    // Pages that are just being read, or wait in a processor's own list, are dropped a moment later.
    for (let attempt = 0; attempt < 100; attempt++) {
      evict(mapping)
      if (residentBytes(mapping) === 0) return mapping
      await setTimeout(5)
    }
    return context.skip(`evict() left ${residentBytes(mapping)} bytes of ${path} in RAM`)
  }

  test('residentBytes() counts bytes of whole and of partial pages', async (context) => {
    const mapping = await cold(context)
    const ranges = [
      [0, byteLength],
      [1, 2],
      [PAGE - 1, PAGE + 1],
      [5, 3 * PAGE + 7],
      [300_001, 70 * MIB + 11],
      [byteLength - 1, byteLength],
      [byteLength - 123, byteLength],
      [7, 7],
    ] as const
    for (const [begin, end] of ranges) expect(residentBytes(mapping, { begin, end })).toBe(0)
    await populate(mapping)
    for (const [begin, end] of ranges) expect(residentBytes(mapping, { begin, end })).toBe(end - begin)
    expect(residentBytes(mapping)).toBe(byteLength)
  })

  test.for([...METHODS, 'lock'] as const)(
    '%s brings in the pages of its ranges and nothing around them',
    async (method, context) => {
      const mapping = await cold(context)
      const ranges = [
        { begin: 30 * MIB + 5, end: 30 * MIB + 6 },
        { begin: 40 * MIB, end: 41 * MIB },
        { begin: 10 * MIB - 1, end: 10 * MIB + 1 },
      ]
      if (method === 'lock') await lock(mapping, ranges)
      else await populate(mapping, ranges, { method })
      expect(residentBytes(mapping)).toBe(MIB + 3 * PAGE)
      if (method === 'lock') await unlock(mapping, ranges)
    },
  )

  test('residentBytes() says RANGE_OUT_OF_BOUNDS and MAPPING_CLOSED', async () => {
    const mapping = mapFile(path)
    for (const [begin, end] of [
      [-1, 1],
      [0, byteLength + 1],
      [Number.NaN, 1],
      [2, 1],
    ] as const) {
      await failure(() => residentBytes(mapping, { begin, end }), 'RANGE_OUT_OF_BOUNDS')
    }
    mapping.close()
    await failure(() => residentBytes(mapping), 'MAPPING_CLOSED')
    await failure(() => evict(mapping), 'MAPPING_CLOSED')
  })

  test.each(METHODS)(
    'populate() by %s brings in all of a file, with monotonic and complete progress',
    async (method) => {
      using mapping = mapFile(path)
      evict(mapping)
      const progress: [number, number][] = []
      await populate(mapping, undefined, { method, onProgress: (...report) => progress.push(report) })
      expect(residentBytes(mapping)).toBe(byteLength)
      expect(progress.length).toBe(3)
      expect(progress.map(([done]) => done)).toEqual(progress.map(([done]) => done).sort((a, b) => a - b))
      expect(progress.every(([, total]) => total === byteLength)).toBe(true)
      expect(progress.at(-1)).toEqual([byteLength, byteLength])
    },
  )

  test.for(METHODS)('populate() by %s brings in the ranges and not the rest', async (method, context) => {
    const mapping = await cold(context)
    const ranges = [
      { begin: 5, end: MIB + 5 },
      { begin: 70 * MIB + 1, end: 70 * MIB + 2 },
    ]
    const progress: [number, number][] = []
    await populate(mapping, ranges, { method, onProgress: (...report) => progress.push(report) })
    for (const range of ranges) expect(residentBytes(mapping, range)).toBe(range.end - range.begin)
    expect(residentBytes(mapping)).toBeLessThan(40 * MIB) // the kernel may read ahead, but not that far
    expect(progress.at(-1)).toEqual([MIB + 1, MIB + 1])
  })

  test('populate() reads no page beyond a range that begins and ends inside huge pages', async (context) => {
    const mapping = await cold(context)
    const range = { begin: MIB + PAGE, end: 39 * MIB + 3 * PAGE }
    await populate(mapping, [range])
    expect(residentBytes(mapping, range)).toBe(range.end - range.begin)
    expect(residentBytes(mapping)).toBe(range.end - range.begin)
  })

  test('splitIntoJobs() cuts at multiples of 32 MiB', () => {
    const cuts = (begin: number, end: number): number[][] =>
      [...splitIntoJobs([{ begin, end }])].map((job) => [job.begin, job.end])
    expect(cuts(0, 70 * MIB)).toEqual([
      [0, 32 * MIB],
      [32 * MIB, 64 * MIB],
      [64 * MIB, 70 * MIB],
    ])
    expect(cuts(31 * MIB + 5, 32 * MIB + 1)).toEqual([
      [31 * MIB + 5, 32 * MIB],
      [32 * MIB, 32 * MIB + 1],
    ])
    expect(cuts(64 * MIB, 64 * MIB + 1)).toEqual([[64 * MIB, 64 * MIB + 1]])
    expect(cuts(7, 7)).toEqual([])
  })

  test('populate() by MADV_POPULATE_READ fills the page tables of this process', async () => {
    using mapping = mapFile(path)
    await populate(mapping, [{ begin: 0, end: 8 * MIB }])
    const { rssBytes } = mappingMemory(mapping)
    if (addon?.memoryLimits().populateRead) expect(rssBytes).toBeGreaterThanOrEqual(8 * MIB)
  })

  test('populate() and prefetch() of nothing resolve', async () => {
    using mapping = mapFile(path)
    await populate(mapping, [])
    await populate(mapping, [{ begin: 9, end: 9 }])
    await prefetch(mapping, [])
    const empty = join(folder, 'empty')
    writeFileSync(empty, '')
    using nothing = mapFile(empty)
    await populate(nothing)
    await lock(nothing)
    evict(nothing)
  })

  // A file of its own: the view keeps its page mapped, and mapped pages are not evicted.
  test('prefetch() and evict() change no bytes', async () => {
    const file = writePattern(folder, 'evicted', 10 * PAGE)
    flush(file)
    using mapping = mapFile(file)
    const view = new Uint8Array(mapping.buffer(1, 9 * PAGE))
    for (let round = 0; round < 3; round++) {
      expect([view[0], view[8 * PAGE]]).toEqual([31, 31 + 8 * 16 * 7].map((byte) => byte & 255))
      evict(mapping)
      await prefetch(mapping)
      await prefetch(mapping, [{ begin: 3, end: 5 }])
    }
  })

  test('populate() leaves the event loop alive', async (context) => {
    const mapping = await cold(context)
    let ticks = 0
    let running = true
    const tick = (): void => {
      ticks++
      if (running) setImmediate(tick)
    }
    setImmediate(tick)
    await populate(mapping)
    running = false
    expect(ticks).toBeGreaterThan(0)
  })

  test('populate() with a signal that was aborted before rejects with its reason and reads nothing', async (context) => {
    const mapping = await cold(context)
    const signal = AbortSignal.abort(new TypeError('not wanted'))
    await expect(populate(mapping, undefined, { signal })).rejects.toThrow('not wanted')
    await expect(populate(mapping, [], { signal })).rejects.toThrow('not wanted')
    expect(residentBytes(mapping)).toBe(0)
  })

  test('populate() that is aborted meanwhile rejects with the reason and begins no further job', async () => {
    using mapping = mapFile(path)
    const controller = new AbortController()
    const progress: number[] = []
    const onProgress = (done: number): void => {
      progress.push(done)
      controller.abort('enough')
    }
    await expect(populate(mapping, undefined, { signal: controller.signal, onProgress })).rejects.toBe('enough')
    expect(progress.length).toBeLessThanOrEqual(2) // those that had begun
    expect(progress.at(-1)).toBeLessThan(byteLength)
  })

  test('populate() stops and rejects when onProgress throws', async () => {
    using mapping = mapFile(path)
    let calls = 0
    const onProgress = (): void => {
      calls++
      throw new TypeError('from the caller')
    }
    await expect(populate(mapping, undefined, { onProgress })).rejects.toThrow('from the caller')
    expect(calls).toBeLessThanOrEqual(2)
  })

  test('populate() refuses wrong ranges before it reads anything', async (context) => {
    const mapping = await cold(context)
    const ranges = [
      { begin: 0, end: byteLength },
      { begin: 0, end: byteLength + 1 },
    ]
    await failure(() => populate(mapping, ranges), 'RANGE_OUT_OF_BOUNDS')
    await failure(() => lock(mapping, ranges), 'RANGE_OUT_OF_BOUNDS')
    await failure(() => prefetch(mapping, [{ begin: 0.5, end: 1 }]), 'RANGE_OUT_OF_BOUNDS')
    expect(residentBytes(mapping)).toBe(0)
  })

  test.each(METHODS)('populate() by %s of a file that was cut says RESIDENCY_FAILED', async (method) => {
    const file = join(folder, `cut-${method}`)
    copyFileSync(path, file)
    using mapping = mapFile(file)
    truncateSync(file, 33 * MIB)
    const error = await failure(() => populate(mapping, undefined, { method }), 'RESIDENCY_FAILED')
    expect(error).toMatchObject({ path: file, errnoName: 'EFAULT' })
    expect(error.message).toContain(file)
    await populate(mapping, [{ begin: 0, end: 33 * MIB }], { method })
    truncateSync(file, 0)
    await failure(() => populate(mapping, [{ begin: 0, end: 1 }], { method }), 'RESIDENCY_FAILED')
    expect(residentBytes(mapping)).toBe(0)
  })

  test.each(METHODS)('populate() by %s while the file is cut and grows again never crashes', async (method) => {
    const file = join(folder, `cutting-${method}`)
    copyFileSync(path, file)
    using mapping = mapFile(file)
    for (let round = 0; round < 5; round++) {
      const done = populate(mapping, undefined, { method }).catch((error: unknown) => error)
      for (const megabytes of [40, 1, 72]) {
        truncateSync(file, megabytes * MIB)
        await new Promise((resolve) => setImmediate(resolve))
      }
      const error = await done
      if (error !== undefined) expect(error).toMatchObject({ code: 'RESIDENCY_FAILED' })
    }
  })

  test.each(METHODS)(
    'close() during populate() by %s ends it with MAPPING_CLOSED and unmaps afterwards',
    async (method) => {
      const file = join(folder, `closed-${method}`)
      copyFileSync(path, file)
      const mapping = mapFile(file)
      const done = populate(mapping, undefined, { method })
      mapping.close()
      expect((await failure(() => done, 'MAPPING_CLOSED')).path).toBe(file)
      await expect.poll(() => mapsOf(file) + descriptorsOf(file)).toBe(0)
    },
  )

  test('a thread may be terminated during populate()', () => {
    const script = `
      for (let round = 0; round < 5; round++) {
        const worker = inWorker(\`
          const mapping = memory.mapFile(workerData)
          const all = [1, 2, 3].map((n) => memory.populate(mapping, undefined, { method: n % 2 ? 'read' : 'populate' }))
          parentPort.postMessage(0)
          await Promise.all(all)\`, input.path)
        const end = ended(worker)
        await message(worker)
        await worker.terminate()
        await end
      }
      await collectUntil(() => memory.mappingCount() === 0)
      answer([memory.mappingCount(), mapsOf(input.path), descriptorsOf(input.path)])`
    expect(ask(script, { input: { path } })).toEqual([0, 0, 0])
  })

  test('lock() keeps ranges in RAM until unlock()', async () => {
    const file = writePattern(folder, 'locked', 10 * PAGE)
    using mapping = mapFile(file)
    const locked = (): number => mappingMemory(mapping).lockedBytes
    await lock(mapping, [{ begin: PAGE + 5, end: 2 * PAGE + 6 }])
    expect(locked()).toBe(2 * PAGE)
    evict(mapping)
    expect(residentBytes(mapping, { begin: PAGE, end: 3 * PAGE })).toBe(2 * PAGE)
    await lock(mapping)
    expect(locked()).toBe(10 * PAGE)
    await unlock(mapping, [{ begin: 0, end: 4 * PAGE }])
    expect(locked()).toBe(6 * PAGE)
    await unlock(mapping)
    expect(locked()).toBe(0)
  })

  test('lock() that is refused by an abort leaves earlier locks alone', async () => {
    const file = writePattern(folder, 'locked-before', 10 * PAGE)
    using mapping = mapFile(file)
    await lock(mapping)
    await expect(lock(mapping, undefined, { signal: AbortSignal.abort('no') })).rejects.toBe('no')
    expect(mappingMemory(mapping).lockedBytes).toBe(10 * PAGE)
  })

  test('lock() of a file that was cut says RESIDENCY_FAILED and leaves nothing locked', async () => {
    const file = writePattern(folder, 'locked-cut', 10 * PAGE)
    using mapping = mapFile(file)
    truncateSync(file, 3 * PAGE)
    const error = await failure(() => lock(mapping), 'RESIDENCY_FAILED')
    expect(error).toMatchObject({ path: file, syscall: 'mlock' })
    expect(mappingMemory(mapping).lockedBytes).toBe(0)
    expect(/^VmLck:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]).toBe('0')
  })

  const WITHOUT_RIGHT = process.geteuid?.() === 0 ? ['setpriv', '--bounding-set=-ipc_lock'] : []
  const limited = (bytes: number): string[] => [...WITHOUT_RIGHT, 'prlimit', `--memlock=${bytes}`]
  const [command, ...rest] = [...limited(65536), 'true']

  test.skipIf(!hasCommand(command!, ...rest)).each([65536, 0])(
    'lock() beyond a limit of %i bytes says LOCK_LIMIT with the limit, and leaves nothing locked',
    (limit) => {
      const script = `
        const mapping = memory.mapFile(input.path)
        const locked = () => Number(/^VmLck:\\s+(\\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))[1])
        let failure
        try { await memory.lock(mapping) } catch (error) { failure = error }
        const { code, actualBytes, expectedBytes, path } = failure
        const after = [locked(), memory.mappingMemory(mapping).lockedBytes]
        if (input.limit) await memory.lock(mapping, [{ begin: 4095, end: 4097 }])
        answer({ code, named: failure.message.includes('may lock ' + input.limit + ' bytes (RLIMIT_MEMLOCK)'), actualBytes, expectedBytes,
          path, after, small: locked(), limit: memory.capabilities().lockLimitBytes })`
      expect(ask(script, { input: { path, limit }, wrap: limited(limit) })).toEqual({
        ...{ code: 'LOCK_LIMIT', named: true, actualBytes: limit, expectedBytes: byteLength, path, limit },
        ...{ after: [0, 0], small: limit === 0 ? 0 : 8 },
      })
    },
  )

  test.skipIf(!CAN_BECOME_NOBODY)('residentBytes() is null for users to whom the kernel does not tell', () => {
    const [readable, writable] = [writePattern(folder, 'readable', PAGE), writePattern(folder, 'writable', PAGE)]
    const script = `
      ${BECOME_NOBODY}
      answer(input.map((path) => {
        const mapping = memory.mapFile(path)
        new Uint8Array(mapping.buffer(0, 1))[0]
        return [mapping.residencyVisible, memory.residentBytes(mapping)]
      }))`
    chmodSync(folder, 0o755)
    chmodSync(readable, 0o644)
    chmodSync(writable, 0o666)
    expect(ask(script, { input: [readable, writable] })).toEqual([
      [false, null],
      [true, PAGE],
    ])
  })
})

/** Pages that are not yet on disk cannot be evicted. */
function flush(path: string): void {
  const descriptor = openSync(path, 'r+')
  fsyncSync(descriptor)
  closeSync(descriptor)
}
