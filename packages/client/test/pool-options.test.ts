import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Checkpoint, openCheckpoint } from '@onecopy/checkpoint'
import {
  createWorkerPool,
  type PlacedPool,
  type PoolPlan,
  type PoolRunOptions,
  type WorkerPool,
  type WorkerPoolOptions,
} from '@onecopy/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { refusal, saveModel } from './support.ts'

const filename = new URL('./tasks/throws.mjs', import.meta.url)

let folder: string
let checkpoint: Checkpoint
let pool: WorkerPool
let placed: PlacedPool

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'onecopy-options-'))
  checkpoint = await openCheckpoint(await saveModel(join(folder, 'model')))
  pool = await createWorkerPool({ checkpoint, filename, minThreads: 0, maxThreads: 1 })
  placed = await createWorkerPool({ checkpoint, filename, minThreads: 0, plan: planOf() })
})

afterAll(async () => {
  await Promise.all([pool.destroy(), placed.destroy()])
  checkpoint.close()
  await rm(folder, { recursive: true })
})

/** One worker that reads everything. */
function planOf(): PoolPlan {
  const mesh = { pp: 1, tp: 1, ep: 1, replicas: 1 }
  const workers = [{ name: 'w0', host: 'here', replica: 0, pp: 0, ep: 0, tp: 0 }]
  return { id: 'plan', mesh, workers, selection: () => ({ tensors: [{ name: 't0' }] }) }
}

describe('createWorkerPool() refuses', () => {
  it.each<[unknown, ErrorConstructor, string]>([
    [undefined, TypeError, 'The options of createWorkerPool() is undefined; it must be an object'],
    ['./m', TypeError, 'The options of createWorkerPool() is "./m"; it must be an object'],
    [null, TypeError, 'The options of createWorkerPool() is null'],
  ])('options that are none: %j', async (options, type, message) => {
    const error = await refusal(createWorkerPool(options as WorkerPoolOptions))
    expect(error).toBeInstanceOf(type)
    expect(error.message).toContain(message)
  })

  it.each<[object, ErrorConstructor, RegExp]>([
    [{ checkpoint: './m' }, TypeError, /option checkpoint .* is "\.\/m"; it must be a Checkpoint, as openCheckpoint/],
    [{ checkpoint: undefined }, TypeError, /option checkpoint .* is undefined/],
    [{ filename: undefined }, TypeError, /option filename .* is undefined; it must be a path or URL of a module/],
    [{ filename: '' }, RangeError, /option filename .* is ""/],
    [{ filename: 5 }, TypeError, /option filename .* is 5/],
    [
      { filenam: 'x' },
      TypeError,
      /createWorkerPool\(\) has no option "filenam"; its options are checkpoint, filename,/,
    ],
    [{ name: 5 }, TypeError, /option name/],
    [{ minThreads: 2.5 }, RangeError, /option minThreads .* is 2\.5; it must be a whole number, 0 or more/],
    [{ minThreads: -1 }, RangeError, /option minThreads/],
    [{ minThreads: '2' }, TypeError, /option minThreads .* is "2"/],
    [{ maxThreads: 0 }, RangeError, /option maxThreads .* is 0; it must be a whole number, 1 or more/],
    [{ maxThreads: Number.NaN }, RangeError, /option maxThreads/],
    [{ minThreads: 3, maxThreads: 2 }, RangeError, /minThreads .* is 3; it must not be above maxThreads, 2/],
    [{ idleTimeout: -1 }, RangeError, /option idleTimeout/],
    [{ idleTimeout: 2 ** 31 }, RangeError, /option idleTimeout .* from 0 to 2147483647, or Infinity/],
    [{ maxQueue: 'lots' }, TypeError, /option maxQueue .* or Infinity or auto/],
    [{ concurrentTasksPerWorker: 0 }, RangeError, /option concurrentTasksPerWorker/],
    [{ atomics: 'yes' }, RangeError, /option atomics .* one of sync, async, disabled/],
    [{ resourceLimits: { maxOldGenerationSizeMB: 5 } }, RangeError, /option resourceLimits .* maxOldGenerationSizeMb/],
    [{ resourceLimits: { stackSizeMb: -4 } }, RangeError, /option resourceLimits/],
    [{ resourceLimits: 64 }, TypeError, /option resourceLimits/],
    [{ argv: 'a b' }, TypeError, /option argv/],
    [{ execArgv: '--no-warnings' }, TypeError, /option execArgv/],
    [{ env: 'A=1' }, TypeError, /option env/],
    [{ workerData: [1] }, TypeError, /option workerData .* is a list of 1; it must be a plain object/],
    [{ workerData: new Map() }, TypeError, /option workerData/],
    [{ taskQueue: 5 }, TypeError, /option taskQueue/],
    [{ niceIncrement: -5 }, RangeError, /option niceIncrement/],
    [{ trackUnmanagedFds: 1 }, TypeError, /option trackUnmanagedFds/],
    [{ recordTiming: 'no' }, TypeError, /option recordTiming/],
    [{ loadBalancer: 'fair' }, TypeError, /option loadBalancer/],
    [{ closeTimeout: 5 }, TypeError, /has no option closeTimeout; give close\(\) of the pool the option timeoutMs/],
    [{ plan: 'tp' }, TypeError, /option plan .* is "tp"; it must be a Plan, as planPlacement\(\) gives/],
    [{ plan: null }, TypeError, /option plan/],
    [{ plan: { workers: [] } }, TypeError, /option plan/],
    [{ host: 'a' }, TypeError, /option host .* needs the option plan/],
    [{ plan: planOf(), host: 5 }, TypeError, /option host .* is 5/],
    [{ plan: planOf(), minThreads: 2.5 }, RangeError, /option minThreads/],
  ])('%j', async (options, type, message) => {
    const error = await refusal(createWorkerPool({ checkpoint, filename, ...options }))
    expect(error).toBeInstanceOf(type)
    expect(error.message).toMatch(message)
  })

  it('a host that the plan does not have, as PLACE_UNKNOWN', async () => {
    const error = await refusal(createWorkerPool({ checkpoint, filename, plan: planOf(), host: 'there' }))
    expect(error).toMatchObject({ code: 'PLACE_UNKNOWN' })
  })

  it('nothing that piscina takes', async () => {
    const options: Partial<WorkerPoolOptions> = {
      name: 'overflow',
      minThreads: 0,
      maxThreads: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      maxQueue: 'auto',
      concurrentTasksPerWorker: 2,
      atomics: 'async',
      resourceLimits: { maxOldGenerationSizeMb: 64 },
      argv: ['a'],
      execArgv: ['--no-warnings'],
      env: { A: '1' },
      workerData: { mine: 1 },
      niceIncrement: 0,
      trackUnmanagedFds: true,
      recordTiming: false,
      stricterFIFO: true,
      workerHistogram: true,
    }
    const own = await createWorkerPool({ checkpoint, filename, ...options })
    await expect(own.run(null)).rejects.toThrow(RangeError)
    await own.destroy()
  })
})

describe('run() refuses', () => {
  it.each<[unknown, ErrorConstructor, RegExp]>([
    ['fast', TypeError, /The options of run\(\) of a pool is "fast"/],
    [{ priority: 1 }, TypeError, /run\(\) of a pool has no option "priority"; its options are signal, name, filename/],
    [{ signal: new AbortController() }, TypeError, /option signal .* must be an AbortSignal/],
    [{ signal: 'soon' }, TypeError, /option signal/],
    [{ name: 5 }, TypeError, /option name/],
    [{ filename: 5 }, TypeError, /option filename/],
    [{ filename: '' }, RangeError, /option filename/],
    [{ transferList: 'all' }, TypeError, /option transferList/],
  ])('%j', async (options, type, message) => {
    const own = options as PoolRunOptions
    const errors = [await refusal(pool.run(1, own))]
    if (typeof own === 'object') errors.push(await refusal(placed.run(1, { worker: 'w0', ...own })))
    for (const error of errors) {
      expect(error).toBeInstanceOf(type)
      expect(error.message).toMatch(message)
    }
  })

  it('of a pool with a plan, no worker, or one that is none', async () => {
    const run = (options?: object) => refusal(placed.run(1, options as { worker: string }))
    for (const options of [undefined, {}, { worker: 5 }]) {
      const error = await run(options)
      expect(error).toBeInstanceOf(TypeError)
      expect(error.message).toMatch(/option worker of run\(\) of a pool with a plan is/)
    }
    expect(await run({ worker: 'w9' })).toMatchObject({ code: 'PLACE_UNKNOWN' })
  })

  it('nothing that is null, which piscina takes for not given', async () => {
    const none = { signal: null, name: null, filename: null }
    await expect(pool.run('text', none)).rejects.toBe('text')
    await expect(pool.run('text', { name: 'rejectLater', signal: new AbortController().signal })).rejects.toBe('text')
  })

  it('a task that cannot be cloned, and goes on', async () => {
    await expect(pool.run(() => {})).rejects.toThrow(/could not be cloned/)
    await expect(pool.run('text')).rejects.toBe('text')
  })
})

it.each<[object, RegExp]>([
  [{ transferList: [] }, /runAll\(\) of a pool has no option "transferList"/],
  [{ worker: 'w0' }, /runAll\(\) of a pool has no option "worker"/],
  [{ signal: 5 }, /option signal of runAll\(\)/],
])('runAll() refuses %j', async (options, message) => {
  expect((await refusal(placed.runAll(1, options))).message).toMatch(message)
})

it.each([undefined, null, './m', {}])('swap() refuses %j, and the pool stays as it is', async (wrong) => {
  for (const each of [pool, placed]) {
    const error = await refusal(each.swap(wrong as unknown as Checkpoint))
    expect(error).toBeInstanceOf(TypeError)
    expect(error.message).toMatch(/The checkpoint of swap\(\) is .*; it must be a Checkpoint/)
  }
  expect(pool.checkpoint.closed).toBe(false)
})

it.each<[object, RegExp]>([
  [{ force: true }, /close\(\) of a pool has no option "force"; its options are timeoutMs/],
  [{ timeoutMs: -1 }, /option timeoutMs of close\(\)/],
  [{ timeoutMs: 2 ** 31 }, /option timeoutMs .* from 0 to 2147483647/],
])('close() refuses %j, and the pool stays open', async (options, message) => {
  for (const each of [pool, placed]) expect((await refusal(each.close(options))).message).toMatch(message)
  await expect(pool.run('text')).rejects.toBe('text')
})
