import { EventEmitter } from 'node:events'
import type { Checkpoint, Selection } from '@onecopy/checkpoint'
import { ClientError } from './errors.ts'
import { checkMethodOptions, checkPoolCheckpoint, checkWorkerName } from './pool-options.ts'
import { PLACE_KEY, type WorkerPlace } from './worker-data.ts'
import type { PoolCloseOptions, PoolRunOptions, WorkerPool, WorkerPoolOptions } from './worker-pool.ts'

/** What a pool needs of a placement plan. */
export interface PoolPlan {
  readonly id: string
  readonly mesh: WorkerPlace['mesh']
  readonly workers: readonly (Omit<WorkerPlace, 'mesh'> & { readonly host: string })[]
  selection(worker: string): Selection
}

/** Options of `createWorkerPool` with a plan. */
export interface PlacedPoolOptions extends WorkerPoolOptions {
  /** Which worker reads what; a worker is one thread, unless `minThreads` and `maxThreads` say otherwise. */
  readonly plan: PoolPlan
  /** The host whose workers run here. @default the plan's only host */
  readonly host?: string
}

type StartPool<Task, Result> = (options: WorkerPoolOptions) => WorkerPool<Task, Result>

/** A worker of the plan: its threads, and what they read. */
interface Member<Task, Result> {
  readonly pool: WorkerPool<Task, Result>
  /** Open as long as the threads read it: arenas, and the lease of an attached checkpoint, last no longer than this. */
  part: Checkpoint
}

/**
 * Pools of threads, one for each worker of a plan on this host. In the module that runs the tasks, `weights()` of
 * `onecopy/worker` is that worker's part of the checkpoint, and `place()` is its place in the mesh.
 * @typeParam Task what `run` takes
 * @typeParam Result what the task function gives
 */
export class PlacedPool<Task = unknown, Result = unknown> extends EventEmitter implements AsyncDisposable {
  /** Names of the workers that run here, in the order of the plan. */
  readonly workers: readonly string[]
  readonly plan: PoolPlan
  readonly #members: ReadonlyMap<string, Member<Task, Result>>
  /** The end of the last swap: one at a time, so that the checkpoint that was given last is the one that stays. */
  #swaps: Promise<unknown> = Promise.resolve()
  /** Ends of what swaps have replaced. */
  readonly #draining = new Set<Promise<void>>()

  private constructor(plan: PoolPlan, members: ReadonlyMap<string, Member<Task, Result>>) {
    super()
    this.plan = plan
    this.#members = members
    this.workers = [...members.keys()]
    for (const [worker, { pool }] of members) pool.on('error', (error) => this.emit('error', error, worker))
  }

  /** @internal Pools come from `createWorkerPool`. */
  static async start<Task, Result>(
    startPool: StartPool<Task, Result>,
    { plan, host, checkpoint, ...options }: PlacedPoolOptions,
  ): Promise<PlacedPool<Task, Result>> {
    const { minThreads = 1, maxThreads = Math.max(1, minThreads), workerData, ...rest } = options
    const here = workersOn(plan, host)
    const parts = await selectParts(checkpoint, plan, here)
    const members = new Map<string, Member<Task, Result>>()
    try {
      for (const [at, { name, replica, pp, ep, tp }] of here.entries()) {
        const part = parts[at]!
        const place: WorkerPlace = { name, replica, pp, ep, tp, mesh: plan.mesh }
        const own = { ...rest, minThreads, maxThreads, workerData: { ...workerData, [PLACE_KEY]: place } }
        members.set(name, { pool: startPool({ ...own, checkpoint: part }), part })
      }
      return new PlacedPool(plan, members)
    } catch (error) {
      await Promise.all(Array.from(members.values(), ({ pool }) => pool.destroy()))
      for (const part of parts) part.close()
      throw error
    }
  }

  /**
   * Runs a task in a thread of one worker.
   * @throws ClientError PLACE_UNKNOWN when no such worker runs here; otherwise as `WorkerPool.run`
   */
  async run(task: Task, options: PoolRunOptions & { readonly worker: string }): Promise<Result> {
    const { worker, ...own } = { ...options }
    checkWorkerName(worker)
    return this.pool(worker).run(task, own)
  }

  /**
   * Runs a task on every worker at once, as a step of tensor-parallel work is.
   * @param task the task, or a function that makes each worker's own
   * @returns the results in the order of `workers`
   */
  async runAll(
    task: Task | ((worker: string) => Task),
    options?: Omit<PoolRunOptions, 'transferList'>,
  ): Promise<Result[]> {
    checkMethodOptions('runAll', options)
    const taskOf = typeof task === 'function' ? (task as (worker: string) => Task) : () => task
    // All tasks before the first is given: should one not be made, none is running that nobody waits for.
    const tasks = this.workers.map((worker) => [worker, taskOf(worker)] as const)
    return Promise.all(tasks.map(([worker, own]) => this.pool(worker).run(own, options)))
  }

  /**
   * The threads of one worker.
   * @throws ClientError PLACE_UNKNOWN
   */
  pool(worker: string): WorkerPool<Task, Result> {
    const member = this.#members.get(worker)
    if (member !== undefined) return member.pool
    throw new ClientError(
      'PLACE_UNKNOWN',
      `No worker ${JSON.stringify(worker)} runs here; there are ${this.workers.join(', ')}`,
    )
  }

  /**
   * Moves all workers to another checkpoint with the same layout, each to its own part; see `WorkerPool.swap`. What `runAll`
   * was given before runs on the old one with every worker, what it is given afterwards on the new one.
   * @throws TypeError; CheckpointError SELECTION_OTHER_CHECKPOINT, CHECKPOINT_CLOSED; ClientError POOL_DESTROYED; the pool
   * stays as it is
   */
  async swap(checkpoint: Checkpoint): Promise<{ readonly swapped: Promise<void> }> {
    checkPoolCheckpoint(checkpoint)
    const swap = this.#swaps.then(() => this.#swap(checkpoint))
    this.#swaps = swap.catch(() => {})
    return swap
  }

  /** Lets running and waiting tasks end, then ends the threads and gives up the pool's hold on the checkpoint; see `WorkerPool.close`. */
  async close(options?: PoolCloseOptions): Promise<void> {
    checkMethodOptions('close', options)
    await this.#end((pool) => pool.close(options))
    this.emit('close')
  }

  /** Ends the threads at once (tasks reject) and gives up the pool's hold on the checkpoint. Idempotent. */
  async destroy(): Promise<void> {
    await this.#end((pool) => pool.destroy())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #swap(checkpoint: Checkpoint): Promise<{ readonly swapped: Promise<void> }> {
    const members = [...this.#members.values()]
    const parts = await selectParts(
      checkpoint,
      this.plan,
      this.workers.map((name) => ({ name })),
    )
    const swaps = await Promise.all(
      members.map(async (member, at) => {
        const part = parts[at]!
        try {
          const { swapped } = await member.pool.swap(part)
          const old = member.part
          member.part = part
          const ended = swapped.finally(() => old.close())
          this.#draining.add(ended)
          return { ended: ended.finally(() => this.#draining.delete(ended)) }
        } catch (error) {
          part.close()
          throw error
        }
      }),
    )
    return { swapped: Promise.all(swaps.map(({ ended }) => ended)).then(() => {}) }
  }

  async #end(end: (pool: WorkerPool<Task, Result>) => Promise<void>): Promise<void> {
    const members = [...this.#members.values()]
    await Promise.all(members.map(({ pool }) => end(pool)))
    await Promise.allSettled(this.#draining)
    for (const { part } of members) part.close()
  }
}

function selectParts(
  checkpoint: Checkpoint,
  plan: PoolPlan,
  workers: readonly { readonly name: string }[],
): Promise<Checkpoint[]> {
  return checkpoint.selectAll(workers.map(({ name }) => plan.selection(name)))
}

function workersOn({ workers }: PoolPlan, host: string | undefined): PoolPlan['workers'] {
  const hosts = [...new Set(workers.map((worker) => worker.host))]
  const wanted = host ?? (hosts.length === 1 ? hosts[0] : undefined)
  if (wanted !== undefined && hosts.includes(wanted)) return workers.filter((worker) => worker.host === wanted)
  const found = host === undefined ? 'The option host is missing' : `The plan has no host ${JSON.stringify(host)}`
  throw new ClientError('PLACE_UNKNOWN', `${found}; the plan has workers on ${hosts.join(', ')}`)
}
