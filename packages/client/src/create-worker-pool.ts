import { PlacedPool, type PlacedPoolOptions } from './placed-pool.ts'
import { checkPoolOptions } from './pool-options.ts'
import { WorkerPool, type WorkerPoolOptions } from './worker-pool.ts'

/**
 * Starts a pool of threads that share one checkpoint; with a plan, a pool whose workers read their parts of it.
 * @throws TypeError, RangeError; CheckpointError CHECKPOINT_CLOSED; with a plan also
 * ClientError PLACE_UNKNOWN and CheckpointError SELECTION_OTHER_CHECKPOINT
 */
export function createWorkerPool<Task = unknown, Result = unknown>(
  options: PlacedPoolOptions,
): Promise<PlacedPool<Task, Result>>
export function createWorkerPool<Task = unknown, Result = unknown>(
  options: WorkerPoolOptions & { readonly plan?: undefined },
): Promise<WorkerPool<Task, Result>>
export async function createWorkerPool<Task, Result>(
  options: PlacedPoolOptions | WorkerPoolOptions,
): Promise<PlacedPool<Task, Result> | WorkerPool<Task, Result>> {
  const isPlaced = checkPoolOptions(options)
  // Loaded here: a process that only attaches need not wait for it.
  const { Piscina } = await import('piscina')
  const start = (own: WorkerPoolOptions): WorkerPool<Task, Result> => new WorkerPool<Task, Result>(Piscina, own)
  return isPlaced ? PlacedPool.start(start, options as PlacedPoolOptions) : start(options)
}
