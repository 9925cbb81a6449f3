import { threadId, workerData } from 'node:worker_threads'
import { weights } from '../../worker.ts'
import { productHash } from './matrix-vector.ts'
import { hashEverything } from './read-everything.ts'
import { meet } from './rendezvous.ts'

/** What the threads of a demo have in common, beside the weights. */
export interface DemoWorkerData {
  readonly threadCount: number
  /** One counter for each round of tasks, for `meet`. */
  readonly arrivals: Int32Array<SharedArrayBuffer>
  /** Bytes hashed by all threads so far, in its only element. */
  readonly hashedBytes: BigInt64Array<SharedArrayBuffer>
}

/** One task: every thread gets one of each. */
export type DemoTask =
  | { readonly round: 0; readonly type: 'ready' }
  | { readonly round: 1; readonly type: 'checksums' }
  | { readonly round: 2; readonly type: 'product'; readonly matrix: string }

/** What came of a task. */
export interface DemoAnswer {
  readonly threadId: number
  /** The monotonic clock when the thread had the weights, in nanoseconds; all threads have the same clock. */
  readonly readyAt: bigint
  readonly milliseconds: number
  /** The sha256 of each tensor in file order, or of the product alone. */
  readonly hashes: readonly string[]
}

const { threadCount, arrivals, hashedBytes } = workerData as DemoWorkerData
const checkpoint = weights()
const readyAt = process.hrtime.bigint()

/** Runs in a thread of the pool. */
export default async function runTask(task: DemoTask): Promise<DemoAnswer> {
  meet(arrivals, task.round, threadCount)
  const started = performance.now()
  const hashes = await compute(task)
  return { threadId, readyAt, milliseconds: performance.now() - started, hashes }
}

async function compute(task: DemoTask): Promise<readonly string[]> {
  if (task.type === 'ready') return []
  if (task.type === 'product') return [await productHash(checkpoint.tensor(task.matrix))]
  return hashEverything(checkpoint, (byteLength) => Atomics.add(hashedBytes, 0, BigInt(byteLength)))
}
