import { join } from 'node:path'
import { type Checkpoint, openCheckpoint, type Selection } from '@onecopy/checkpoint'
import {
  attach,
  createWorkerPool,
  type PlacedPool,
  type PlacedPoolOptions,
  type PoolPlan,
  type WorkerPlace,
  type WorkerPool,
} from '@onecopy/client'
import type { CoordinatorStatus } from '@onecopy/protocol'
import { mappingCount } from '@onecopy/sharedarraybuffer-utils'
import { afterEach, beforeEach, describe, expect, expectTypeOf, it } from 'vitest'
import {
  collectUntil,
  hashesOf,
  leasesOf,
  Program,
  quarter,
  refusal,
  saveMatrices,
  statusWhere,
  temporaryFolder,
  until,
} from './support.ts'

const filename = new URL('./tasks/parts.mjs', import.meta.url)
const NAMES = ['w0', 'w1', 'w2', 'w3']
const WIDTH = 64
/** Columns of `o` and `down`, rows of `gate_up`: of all four workers together, these are whole matrices. */
const GATHERED_BYTES = 4 * 4 * WIDTH * WIDTH
/** Without mappings no part shares memory with the whole: rows of `embed` and `q` are gathered too. */
const HEAP_GATHERED_BYTES = GATHERED_BYTES + 4 * 3 * WIDTH * WIDTH
/** What the headers of the arenas take at most here. */
const MAX_HEAD_BYTES = 4 * 1024

interface Seen {
  readonly threadId: number
  readonly place: WorkerPlace | null
  readonly hashes: Record<string, string>
  readonly userData: unknown
}

/** Four workers that share a model of `saveMatrices`. */
function planOf(layout: string, hostOf = (_: string): string => 'here'): PoolPlan {
  const selections = new Map(NAMES.map((name, rank) => [name, { ...quarter(rank), layout } satisfies Selection]))
  return {
    id: 'plan',
    mesh: { pp: 1, tp: 4, ep: 1, replicas: 1 },
    workers: NAMES.map((name, tp) => ({ name, host: hostOf(name), replica: 0, pp: 0, ep: 0, tp })),
    selection: (worker) => selections.get(worker)!,
  }
}

let folder: string
let checkpoint: Checkpoint
const pools: { destroy(): Promise<void> }[] = []

beforeEach(() => {
  folder = temporaryFolder()
})

afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.destroy()))
  checkpoint.close()
})

async function start<Task = unknown, Result = unknown>(options: Partial<PlacedPoolOptions> = {}) {
  const plan = planOf(checkpoint.layout)
  const pool = await createWorkerPool<Task, Result>({ checkpoint, filename, plan, ...options })
  pools.push(pool)
  return pool
}

async function partsOf(source: Checkpoint): Promise<Record<string, string>[]> {
  const parts = await source.selectAll(NAMES.map((_, rank) => quarter(rank)))
  const hashes = parts.map(hashesOf)
  for (const part of parts) part.close()
  return hashes
}

/** A task that is in the midst of its work on every worker, and what lets it end. */
async function startWaiting(pool: PlacedPool) {
  const gate = new Int32Array(new SharedArrayBuffer(8))
  const result = pool.runAll({ gate }, { name: 'firstAfterGate' })
  await until(() => Atomics.load(gate, 0) === NAMES.length, 'the task has begun on every worker')
  const release = (): void => {
    Atomics.store(gate, 1, 1)
    Atomics.notify(gate, 1)
  }
  return { result, release }
}

describe.each(['file', 'sealed', 'heap'] as const)('a pool with a plan, on %s backing', (backing) => {
  const gatheredBytes = backing === 'heap' ? HEAP_GATHERED_BYTES : GATHERED_BYTES

  beforeEach(async () => {
    checkpoint = await openCheckpoint(await saveMatrices(join(folder, 'model')), { backing })
  })

  async function another(fill: number, width = WIDTH): Promise<Checkpoint> {
    return openCheckpoint(await saveMatrices(join(folder, `${fill}-${width}`), { fill, width }), { backing })
  }

  it('gives every thread the part of its worker, and its place', async () => {
    const pool = await start<null, Seen>({ workerData: { user: 'mine' } })
    expect(pool.workers).toEqual(NAMES)
    const seen = await pool.runAll(null)
    expect(seen.map(({ hashes }) => hashes)).toEqual(await partsOf(checkpoint))
    const mesh = { pp: 1, tp: 4, ep: 1, replicas: 1 }
    expect(seen.map(({ place }) => place)).toEqual(
      NAMES.map((name, tp) => ({ name, replica: 0, pp: 0, ep: 0, tp, mesh })),
    )
    expect(seen.map(({ userData }) => userData)).toEqual(NAMES.map(() => 'mine'))
    expect(new Set(seen.map(({ threadId }) => threadId)).size).toBe(4)
  })

  it('run() runs in a thread of the worker; an unknown one is PLACE_UNKNOWN', async () => {
    const pool = await start<unknown, [string, unknown]>()
    for (const worker of ['w2', 'w0']) expect(await pool.run(1, { worker, name: 'echo' })).toEqual([worker, 1])
    const unknown = { code: 'PLACE_UNKNOWN', message: 'No worker "w9" runs here; there are w0, w1, w2, w3' }
    expect(await refusal(pool.run(1, { worker: 'w9' }))).toMatchObject(unknown)
    expect(await refusal(() => pool.pool('w9'))).toMatchObject(unknown)
  })

  it('runAll() gives the results in the order of the workers, each with its own task where a function makes them', async () => {
    const pool = await start<unknown, [string, unknown]>()
    expect(await pool.runAll('all', { name: 'echo' })).toEqual(NAMES.map((name) => [name, 'all']))
    const own = await pool.runAll((worker: string) => `for ${worker}`, { name: 'echo' })
    expect(own).toEqual(NAMES.map((name) => [name, `for ${name}`]))
  })

  it('runAll() starts nothing when one of the tasks cannot be made', async () => {
    const pool = await start<string, unknown>()
    const tasks = (worker: string): string => {
      if (worker === 'w3') throw new RangeError('no task for w3')
      return worker
    }
    await expect(pool.runAll(tasks, { name: 'crash' })).rejects.toThrow('no task for w3')
    expect(NAMES.map((worker) => pool.pool(worker).queueSize)).toEqual([0, 0, 0, 0])
    expect(await pool.runAll('all', { name: 'echo' })).toHaveLength(4)
  })

  it('has one thread for each worker, or as many as minThreads and maxThreads say', async () => {
    const threads = (pool: PlacedPool): number[] => NAMES.map((worker) => pool.pool(worker).threads.length)
    const one = await start()
    expect(threads(one)).toEqual([1, 1, 1, 1])
    expect(one.pool('w0').piscina.options.maxThreads).toBe(1)
    const two = await start({ minThreads: 2 })
    expect(threads(two)).toEqual([2, 2, 2, 2])
    expect(two.pool('w0').piscina.options.maxThreads).toBe(2)
    const some = await start({ minThreads: 0, maxThreads: 3 })
    expect([some.pool('w0').piscina.options.minThreads, some.pool('w0').piscina.options.maxThreads]).toEqual([0, 3])
    expect(((await some.run(null, { worker: 'w1' })) as Seen).hashes).toEqual((await partsOf(checkpoint))[1])
  })

  it('a thread that replaces a crashed one has the same part and place', async () => {
    const pool = await start<null, Seen>()
    const before = await pool.run(null, { worker: 'w3' })
    await expect(pool.run(null, { worker: 'w3', name: 'crash' })).rejects.toThrow()
    const after = await pool.run(null, { worker: 'w3' })
    expect(after).toEqual({ ...before, threadId: after.threadId })
    expect(after.threadId).not.toBe(before.threadId)
  })

  it('gathers arenas once for all workers and all pools, and frees them with the last one', async () => {
    const before = mappingCount()
    const first = await start()
    const { arenaBytes } = checkpoint
    expect(arenaBytes).toBeGreaterThan(gatheredBytes)
    expect(arenaBytes).toBeLessThan(gatheredBytes + MAX_HEAD_BYTES)
    // One pass over what is gathered: one arena.
    if (backing !== 'heap') expect(mappingCount()).toBeLessThanOrEqual(before + 1)
    const second = await start()
    expect(checkpoint.arenaBytes).toBe(arenaBytes)
    await first.destroy()
    expect(checkpoint.arenaBytes).toBe(arenaBytes)
    expect((await second.runAll(null)) as Seen[]).toHaveLength(4)
    await second.close()
    expect(checkpoint.arenaBytes).toBe(0)
    await collectUntil(() => mappingCount() <= before)
  })

  it('close() of the checkpoint leaves the pool at work', async () => {
    const expected = await partsOf(checkpoint)
    const pool = await start<null, Seen>({ minThreads: 0 })
    checkpoint.close()
    expect((await pool.runAll(null)).map(({ hashes }) => hashes)).toEqual(expected)
  })

  it('swap() moves every worker to its part of a checkpoint with the same layout, and loses no task', async () => {
    const pool = await start<unknown, unknown>()
    const { result, release } = await startWaiting(pool)
    const queued = pool.runAll('down', { name: 'first' })
    using newer = await another(2)
    const { swapped } = await pool.swap(newer)
    expect(await pool.runAll('down', { name: 'first' })).toEqual([2, 2, 2, 2])
    expect(checkpoint.arenaBytes).toBeGreaterThan(gatheredBytes) // the old threads still read it
    release()
    expect(await result).toEqual([1, 1, 1, 1])
    expect(await queued).toEqual([1, 1, 1, 1])
    await swapped
    expect(checkpoint.arenaBytes).toBe(0)
    expect(((await pool.runAll(null)) as Seen[]).map(({ hashes }) => hashes)).toEqual(await partsOf(newer))
    await pool.destroy()
    expect(newer.arenaBytes).toBe(0)
  })

  it('swap() under load gives every runAll() one and the same checkpoint on all workers', async () => {
    const pool = await start<string, number>()
    const newer = await Promise.all([2, 3, 4].map((fill) => another(fill)))
    const running: Promise<number[]>[] = []
    const give = (): void => void running.push(pool.runAll('down', { name: 'first' }))
    const ended: Promise<void>[] = []
    for (const next of newer) {
      for (let step = 0; step < 5; step++) give()
      const swap = pool.swap(next)
      for (let step = 0; step < 5; step++) {
        give()
        await new Promise((resolve) => setImmediate(resolve))
      }
      ended.push((await swap).swapped)
    }
    give()
    const results = await Promise.all(running)
    for (const result of results) expect(new Set(result).size).toBe(1)
    expect(results.at(-1)).toEqual([4, 4, 4, 4])
    await Promise.all(ended)
    expect([checkpoint, ...newer].map(({ arenaBytes }) => arenaBytes > 0)).toEqual([false, false, false, true])
    for (const next of newer) next.close()
  })

  it('swap() twice at once ends with the checkpoint that was given last', async () => {
    const pool = await start<string, number>()
    using large = await another(2)
    using last = await another(3)
    // The first has its parts to gather, the second finds them.
    using _ready = await last.select(quarter(0))
    const [first, second] = await Promise.all([pool.swap(large), pool.swap(last)])
    await Promise.all([first.swapped, second.swapped])
    expect(await pool.runAll('down', { name: 'first' })).toEqual([3, 3, 3, 3])
    expect(large.arenaBytes).toBe(0)
  })

  it('swap() to a checkpoint of another layout, or to a closed one, is refused, and the pool stays as it is', async () => {
    const pool = await start<string, number>()
    using narrower = await another(2, 32)
    const { arenaBytes } = checkpoint
    expect(await refusal(pool.swap(narrower))).toMatchObject({ code: 'SELECTION_OTHER_CHECKPOINT' })
    narrower.close()
    expect(await refusal(pool.swap(narrower))).toMatchObject({ code: expect.stringMatching(/CLOSED|OTHER/) })
    expect(await pool.runAll('down', { name: 'first' })).toEqual([1, 1, 1, 1])
    expect([narrower.arenaBytes, checkpoint.arenaBytes]).toEqual([0, arenaBytes])
    using newer = await another(2)
    await pool.swap(newer)
    expect(await pool.runAll('down', { name: 'first' })).toEqual([2, 2, 2, 2])
  })

  it('destroy() rejects what runs and what comes, also a swap, and may be called twice', async () => {
    const pool = await start()
    const { result } = await startWaiting(pool)
    const refused = expect(result).rejects.toThrow()
    using newer = await another(2)
    const swapping = refusal(pool.swap(newer))
    await Promise.all([pool.destroy(), pool.destroy()])
    await refused
    expect(await swapping).toMatchObject({ code: 'POOL_DESTROYED' })
    for (const late of [pool.runAll(null), pool.run(null, { worker: 'w0' }), pool.swap(newer)]) {
      expect(await refusal(late)).toMatchObject({ code: 'POOL_DESTROYED' })
    }
    expect([checkpoint.arenaBytes, newer.arenaBytes]).toEqual([0, 0])
    expect(checkpoint.closed).toBe(false)
  })

  it('close() lets tasks end first, those on the weights before a swap too, and is what `await using` calls', async () => {
    let events = 0
    let results: Promise<unknown[]>
    using newer = await another(2)
    {
      await using pool = await start()
      pool.on('close', () => events++)
      results = Promise.all([pool.runAll('down', { name: 'first' }), pool.runAll('o', { name: 'first' })])
      await pool.swap(newer)
    }
    expect(await results).toEqual([Array(4).fill(1), Array(4).fill(1)])
    expect(events).toBe(1)
    expect([checkpoint.arenaBytes, newer.arenaBytes]).toEqual([0, 0])
  })

  it('runs the workers of one host, which must be named where the plan has several', async () => {
    const plan = planOf(checkpoint.layout, (name) => (name < 'w2' ? 'left' : 'right'))
    const pool = await start<null, Seen>({ plan, host: 'right' })
    expect(pool.workers).toEqual(['w2', 'w3'])
    expect((await pool.runAll(null)).map(({ place }) => place?.tp)).toEqual([2, 3])
    expect(await refusal(pool.run(null, { worker: 'w0' }))).toMatchObject({ code: 'PLACE_UNKNOWN' })
    expect(checkpoint.arenaBytes).toBeLessThan(gatheredBytes / 2 + MAX_HEAD_BYTES) // of this host alone
    expect(await refusal(start({ plan }))).toMatchObject({
      code: 'PLACE_UNKNOWN',
      message: 'The option host is missing; the plan has workers on left, right',
    })
    expect(await refusal(start({ plan, host: 'rigth' }))).toMatchObject({
      code: 'PLACE_UNKNOWN',
      message: 'The plan has no host "rigth"; the plan has workers on left, right',
    })
  })

  it('leaves nothing behind when it cannot start', async () => {
    const before = mappingCount()
    using other = await another(2, 32)
    const opened = mappingCount()
    const workerData = { uncloneable: () => {} }
    await expect(start({ workerData })).rejects.toThrow(/could not be cloned/)
    await expect(start({ maxThreads: -1 })).rejects.toThrow(/maxThreads/)
    expect(await refusal(start({ checkpoint: other, plan: planOf(checkpoint.layout) }))).toMatchObject({
      code: 'SELECTION_OTHER_CHECKPOINT',
    })
    expect([checkpoint.arenaBytes, other.arenaBytes]).toEqual([0, 0])
    await collectUntil(() => mappingCount() <= opened)
    other.close()
    await collectUntil(() => mappingCount() <= before)
    checkpoint.close()
    expect(await refusal(start())).toMatchObject({ code: 'CHECKPOINT_CLOSED' })
  })
})

describe.each(['file', 'sealed'])('a pool with a plan over an attached checkpoint, on %s backing', (backing) => {
  let socket: string
  let coordinator: Program

  beforeEach(async () => {
    checkpoint = await openCheckpoint(await saveMatrices(join(folder, 'model')))
    socket = join(folder, 's', 'socket')
    coordinator = await Program.start('coordinator.mjs', socket)
    await coordinator.ask('publish', 'a', join(folder, 'model'), { backing })
  })

  function arenaBytesOf({ checkpoints }: CoordinatorStatus): number {
    return checkpoints.flatMap(({ versions }) => versions).reduce((sum, { arenaBytes }) => sum + arenaBytes, 0)
  }

  async function startProgram(): Promise<Program> {
    const program = await Program.start('placed.mjs', socket, 'a')
    const { selection, ...plan } = planOf(checkpoint.layout)
    await program.ask('start', {
      ...plan,
      selections: Object.fromEntries(NAMES.map((name) => [name, selection(name)])),
    })
    return program
  }

  it('reads the arenas of the coordinator, which count once for two processes and go with the last', async () => {
    const programs = await Promise.all([startProgram(), startProgram()])
    const status = await statusWhere(coordinator, (found) => leasesOf(found).length === 2 * (1 + NAMES.length))
    const arenaBytes = arenaBytesOf(status)
    expect(arenaBytes).toBeGreaterThan(GATHERED_BYTES)
    expect(arenaBytes).toBeLessThan(GATHERED_BYTES + MAX_HEAD_BYTES)
    for (const program of programs) {
      expect(await program.ask('hashes')).toEqual(await partsOf(checkpoint))
      expect(await program.ask('arenaBytes')).toBe(0) // none of its own
    }
    await programs[0]!.ask('closeCheckpoint')
    await programs[1]!.kill()
    expect(arenaBytesOf(await statusWhere(coordinator, (found) => leasesOf(found).length === 4))).toBe(arenaBytes)
    expect(await programs[0]!.ask('hashes')).toEqual(await partsOf(checkpoint))
    await programs[0]!.ask('destroy')
    const { heldBytes, ...end } = await statusWhere(coordinator, (found) => leasesOf(found).length === 0)
    expect(arenaBytesOf({ heldBytes, ...end })).toBe(0)
  })

  it('follows versions: the old one goes when the last of its tasks has ended', async () => {
    const attached = await attach({ socket, checkpoint: 'a' })
    const pool = await start<unknown, unknown>({ checkpoint: attached })
    const { result, release } = await startWaiting(pool)
    await coordinator.ask('publish', 'a', await saveMatrices(join(folder, 'next'), { fill: 2 }), { backing })
    using latest = await attached.followLatest()
    expect(latest.version).toBe(2)
    const { swapped } = await pool.swap(latest)
    attached.close()
    expect(await pool.runAll('down', { name: 'first' })).toEqual([2, 2, 2, 2])
    const both = await statusWhere(coordinator, (found) => leasesOf(found).length === 1 + 2 * NAMES.length)
    expect(leasesOf(both).filter((lease) => lease === 'a@1')).toHaveLength(NAMES.length)
    release()
    expect(await result).toEqual([1, 1, 1, 1])
    await swapped
    const left = await statusWhere(coordinator, ({ checkpoints: [a] }) => a!.versions.length === 1)
    expect(new Set(leasesOf(left))).toEqual(new Set(['a@2']))
    await pool.destroy()
    expect(leasesOf(await statusWhere(coordinator, (found) => leasesOf(found).length === 1))).toEqual(['a@2'])
  })

  it('starts on arenas of its own while the coordinator is away', async () => {
    const attached = await attach({ socket, checkpoint: 'a' })
    await coordinator.kill()
    const pool = await start<null, Seen>({ checkpoint: attached })
    expect((await pool.runAll(null)).map(({ hashes }) => hashes)).toEqual(await partsOf(checkpoint))
    expect(attached.arenaBytes).toBeGreaterThan(GATHERED_BYTES)
    await pool.destroy()
    expect(attached.arenaBytes).toBe(0)
    attached.close()
  })
})

describe('createWorkerPool()', () => {
  beforeEach(async () => {
    checkpoint = await openCheckpoint(await saveMatrices(join(folder, 'model')))
  })

  it('without a plan starts a pool whose threads have the whole checkpoint, and no place', async () => {
    const pool = await createWorkerPool<null, Seen>({ checkpoint, filename, maxThreads: 1 })
    pools.push(pool)
    const { place, hashes } = await pool.run(null)
    expect([place, hashes]).toEqual([null, hashesOf(checkpoint)])
  })

  it('gives the types of task and result, with and without a plan', () => {
    const options = { checkpoint, filename }
    expectTypeOf(createWorkerPool<string, number>).toBeCallableWith(options)
    expectTypeOf<PlacedPool<string, number>['runAll']>().returns.resolves.toEqualTypeOf<number[]>()
    expectTypeOf<PlacedPool<string, number>['run']>().parameter(0).toEqualTypeOf<string>()
    expectTypeOf<PlacedPool<string, number>['pool']>().returns.toEqualTypeOf<WorkerPool<string, number>>()
  })
})
