import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { type Checkpoint, openCheckpoint, saveCheckpoint } from '@onecopy/checkpoint'
import { createWorkerPool, type WorkerPool, type WorkerPoolOptions } from '@onecopy/client'
import { mappingCount } from '@onecopy/sharedarraybuffer-utils'
import { afterEach, beforeEach, describe, expect, expectTypeOf, it } from 'vitest'
import { collectUntil, saveModel, temporaryFolder, until } from './support.ts'

const filename = new URL('./tasks/tensors.mjs', import.meta.url)
const values = Float32Array.from({ length: 3000 }, (_, i) => i / 7)

describe.each(['file', 'heap'] as const)('a pool on %s backing', (backing) => {
  let folder: string
  let checkpoint: Checkpoint
  const pools: WorkerPool[] = []

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'onecopy-pool-'))
    const tensors = [
      { name: 'a', dtype: 'F32', shape: [3000], data: values },
      { name: 'b', dtype: 'U8', shape: [5], data: Uint8Array.of(9, 8, 7, 6, 5) },
    ] as const
    await saveCheckpoint(folder, tensors, { maxShardBytes: 6000 })
    checkpoint = await openCheckpoint(folder, { backing })
  })

  afterEach(async () => {
    await Promise.all(pools.splice(0).map((pool) => pool.destroy()))
    checkpoint.close()
    await rm(folder, { recursive: true })
  })

  async function start<Task = unknown, Result = unknown>(options: Partial<WorkerPoolOptions> = {}) {
    const pool = await createWorkerPool<Task, Result>({ checkpoint, filename, maxThreads: 2, ...options })
    pools.push(pool as WorkerPool)
    return pool
  }

  it('run() reads the same bytes in every thread', async () => {
    const pool = await start<string, string>({ minThreads: 2 })
    const hashes = await Promise.all(Array.from({ length: 8 }, () => pool.run('a')))
    const expected = createHash('sha256').update(values).digest('hex')
    expect(new Set(hashes)).toEqual(new Set([expected]))
    expect(await pool.run('b')).toBe(
      createHash('sha256')
        .update(Uint8Array.of(9, 8, 7, 6, 5))
        .digest('hex'),
    )
  })

  it('weights() is ready before the first task, beside the workerData of the user', async () => {
    const pool = await start({ workerData: { user: { answer: 42 } } })
    const seen = await pool.run(null, { name: 'describe' })
    expect(seen).toMatchObject({ readyBeforeTheFirstTask: 2, userData: { answer: 42 } })
  })

  it('run() passes the error of a task on, and one of the checkpoint with its code and candidates', async () => {
    const pool = await start()
    await expect(pool.run('no such luck', { name: 'fail' })).rejects.toThrow(new RangeError('no such luck'))
    await expect(pool.run('aa', { name: 'missing' })).rejects.toThrow(/has no tensor "aa"; nearest: "a"/)
  })

  it('a thread that replaces a crashed one gets the weights too', async () => {
    const pool = await start({ maxThreads: 1 })
    const before = (await pool.run(null, { name: 'describe' })) as { threadId: number }
    await expect(pool.run(null, { name: 'crash' })).rejects.toThrow()
    const after = (await pool.run(null, { name: 'describe' })) as { threadId: number; readyBeforeTheFirstTask: number }
    expect(after.threadId).not.toBe(before.threadId)
    expect(after.readyBeforeTheFirstTask).toBe(2)
    expect(await pool.run('a', { name: 'firstElement' })).toBe(0)
  })

  it('a signal that aborts rejects its task and leaves the others', async () => {
    const pool = await start()
    const controller = new AbortController()
    const waiting = pool.run(null, { name: 'wait', signal: controller.signal })
    setImmediate(() => controller.abort())
    await expect(waiting).rejects.toThrow(/aborted/)
    expect(await pool.run('b', { name: 'firstElement' })).toBe(9)
  })

  it('events of piscina arrive at the pool', async () => {
    const pool = await start({ minThreads: 1, maxThreads: 1 })
    const created = once(pool, 'workerCreate')
    const message = once(pool, 'message')
    await pool.run('hello', { name: 'speak' })
    expect(await message).toEqual(['hello'])
    const [worker] = (await created) as [{ id: number }]
    const destroyed = once(pool, 'workerDestroy')
    await pool.destroy()
    expect(await destroyed).toMatchObject([{ id: worker.id }])
  })

  it('data that a task returns is the same memory, not a copy', async () => {
    const pool = await start()
    const data = (await pool.run('a', { name: 'postTensor' })) as Float32Array
    expect(data.buffer).toBeInstanceOf(SharedArrayBuffer)
    expect(data).toEqual(checkpoint.tensor('a').data)
    // A page of a mapping that a second buffer shows is the same page; heap parts are the same SharedArrayBuffer.
    expect(data.byteOffset).toBe(0)
  })

  it('close() of the checkpoint leaves the pool at work, also for threads that start afterwards', async () => {
    const pool = await start({ minThreads: 0, idleTimeout: 0 })
    checkpoint.close()
    expect(await pool.run('a', { name: 'firstElement' })).toBe(0)
    expect(pool.checkpoint.closed).toBe(false)
  })

  it('destroy() rejects further tasks, closes the hold on the checkpoint, and may be called twice', async () => {
    const pool = await start()
    await pool.run('a')
    await pool.destroy()
    await pool.destroy()
    expect(pool.checkpoint.closed).toBe(true)
    expect(checkpoint.closed).toBe(false)
    await expect(pool.run('a')).rejects.toMatchObject({ code: 'POOL_DESTROYED' })
  })

  it('close() lets waiting tasks end first', async () => {
    const pool = await start<string, string>({ maxThreads: 1 })
    const tasks = [pool.run('a'), pool.run('b'), pool.run('a')]
    await pool.close()
    expect((await Promise.all(tasks)).every((hash) => hash.length === 64)).toBe(true)
    expect(pool.checkpoint.closed).toBe(true)
  })

  /** A task that is in the midst of its work, and what lets it end. */
  async function startWaiting(pool: WorkerPool) {
    const gate = new Int32Array(new SharedArrayBuffer(8))
    const result = pool.run({ gate }, { name: 'waitForSignal' })
    await until(() => Atomics.load(gate, 0) > 0, 'the task has begun')
    const release = (): void => {
      Atomics.store(gate, 1, 1)
      Atomics.notify(gate, 1)
    }
    return { result, release }
  }

  it('swap() lets tasks that were given end on the old weights, and runs new ones on the new', async () => {
    const pool = await start({ maxThreads: 1 })
    const { result, release } = await startWaiting(pool)
    const queued = pool.run('a', { name: 'secondElement' })
    const next = join(folder, 'next')
    await saveCheckpoint(next, [{ name: 'a', dtype: 'F32', shape: [2], data: Float32Array.of(0, 42) }])
    using newer = await openCheckpoint(next, { backing })
    const old = pool.checkpoint
    const { swapped } = await pool.swap(newer)
    expect(await pool.run('a', { name: 'secondElement' })).toBe(42)
    expect(old.closed).toBe(false)
    release()
    const second = Math.fround(1 / 7)
    expect(await result).toEqual({ before: second, after: second })
    expect(await queued).toBe(second)
    await swapped
    expect(old.closed).toBe(true)
    expect(pool.checkpoint.fingerprint).toBe(newer.fingerprint)
  })

  it('close() after swap() waits for the old threads, and so does `swapped`', async () => {
    const pool = await start({ maxThreads: 1 })
    const { result, release } = await startWaiting(pool)
    const old = pool.checkpoint
    const { swapped } = await pool.swap(checkpoint)
    const closed = pool.close()
    release()
    await Promise.all([result, swapped, closed])
    expect([old.closed, pool.checkpoint.closed]).toEqual([true, true])
  })

  it('swap() to a closed checkpoint is refused and changes nothing', async () => {
    const pool = await start({ maxThreads: 1 })
    const closed = await openCheckpoint(folder, { backing })
    closed.close()
    await expect(pool.swap(closed)).rejects.toMatchObject({ code: 'CHECKPOINT_CLOSED' })
    expect(await pool.run('b', { name: 'firstElement' })).toBe(9)
  })

  it('destroy() after swap() ends the old threads too, at once', async () => {
    const pool = await start({ maxThreads: 1 })
    const { result } = await startWaiting(pool)
    const refused = expect(result).rejects.toThrow()
    await pool.swap(checkpoint)
    await pool.destroy()
    await refused
    await expect(pool.swap(checkpoint)).rejects.toMatchObject({ code: 'POOL_DESTROYED' })
  })

  it('run() takes modules in CommonJS, other exports and other modules', async () => {
    const common = new URL('./tasks/common.cjs', import.meta.url)
    const pool = await start({ filename: common })
    expect(await pool.run(1)).toBe('main 1')
    expect(await pool.run(2, { name: 'by another name' })).toBe('other 2')
    expect(await pool.run('b', { filename, name: 'firstElement' })).toBe(9)
    await expect(pool.run(3, { name: 'nothing' })).rejects.toThrow()
  })

  // On Node 20, ending a thread in the midst of a synchronous import ends the process.
  it('destroy() while threads are still starting does no harm', async () => {
    for (let round = 0; round < 25; round++) {
      const pool = await start({ minThreads: 2 })
      await new Promise((resolve) => setTimeout(resolve, round * 2))
      await pool.destroy()
    }
    expect(await (await start()).run('b', { name: 'firstElement' })).toBe(9)
  })

  it('swap() while tasks fail and threads die drops no other task', async () => {
    const pool = await start<unknown, unknown>({ minThreads: 2 })
    const outcomes: Promise<unknown>[] = []
    for (let round = 0; round < 6; round++) {
      const failing = [pool.run('no luck', { name: 'fail' }), pool.run(null, { name: 'crash' })]
      for (const each of failing) outcomes.push(expect(each).rejects.toThrow())
      outcomes.push(expect(pool.run('b', { name: 'firstElement' })).resolves.toBe(9))
      const { swapped } = await pool.swap(checkpoint)
      outcomes.push(swapped)
    }
    await Promise.all(outcomes)
    expect(await pool.run('b', { name: 'firstElement' })).toBe(9)
  })

  it('a thread that dies takes its own task with it, and no other', async () => {
    const pool = await start({ minThreads: 2 })
    const { result, release } = await startWaiting(pool)
    await expect(pool.run(null, { name: 'crash' })).rejects.toThrow('worker exited with code: 7')
    release()
    expect(await result).toMatchObject({ before: Math.fround(1 / 7) })
  })

  it('a task that needs more memory than a thread may have rejects, and the next one runs', async () => {
    const pool = await start({ maxThreads: 1, resourceLimits: { maxOldGenerationSizeMb: 32 } })
    await expect(pool.run(null, { name: 'fillMemory' })).rejects.toMatchObject({ code: 'ERR_WORKER_OUT_OF_MEMORY' })
    expect(await pool.run('b', { name: 'firstElement' })).toBe(9)
  })

  it('threads and pools that come and go leave no mapping behind', async () => {
    const before = mappingCount()
    for (let round = 0; round < 10; round++) {
      const pool = await start({ minThreads: 2 })
      await pool.run('a')
      await pool.destroy()
    }
    // Those of the tests before may be collected meanwhile.
    await collectUntil(() => mappingCount() <= before)
  })
})

it('a pool works in a thread, and ends with it', async () => {
  const folder = await saveModel(join(temporaryFolder(), 'model'))
  const before = mappingCount()
  const worker = new Worker(new URL('./children/pool-in-thread.mjs', import.meta.url), { workerData: { folder } })
  const [message] = await once(worker, 'message')
  expect(message).toEqual({ first: 1, code: 'TENSOR_NOT_FOUND' })
  await worker.terminate()
  await collectUntil(() => mappingCount() <= before)
})

describe('createWorkerPool()', () => {
  it('refuses a checkpoint that was closed, and leaves nothing behind', async () => {
    const folder = temporaryFolder()
    await saveCheckpoint(folder, [{ name: 'a', dtype: 'U8', shape: [1], data: Uint8Array.of(1) }])
    const before = mappingCount()
    const checkpoint = await openCheckpoint(folder)
    // Found by piscina only, when the pool has its hold on the checkpoint.
    const workerData = { uncloneable: () => {} }
    await expect(createWorkerPool({ checkpoint, filename, workerData, minThreads: 1 })).rejects.toThrow(
      /could not be cloned/,
    )
    checkpoint.close()
    await expect(createWorkerPool({ checkpoint, filename })).rejects.toMatchObject({ code: 'CHECKPOINT_CLOSED' })
    await collectUntil(() => mappingCount() <= before)
  })

  it('gives run() the types of task and result', () => {
    expectTypeOf<WorkerPool<{ prompt: string }, number[]>['run']>().parameter(0).toEqualTypeOf<{ prompt: string }>()
    expectTypeOf<WorkerPool<{ prompt: string }, number[]>['run']>().returns.resolves.toEqualTypeOf<number[]>()
  })
})
