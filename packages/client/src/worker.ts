import { threadId, workerData } from 'node:worker_threads'
import { Checkpoint } from '@onecopy/checkpoint/adopt'
import { ClientError } from './errors.ts'
import { PLACE_KEY, type PoolWorkerData, SHARE_KEY, type WorkerPlace } from './worker-data.ts'

// Taken when the module is loaded, which piscina does before it hands out the first task; the handle is given back when
// the thread ends.
const share = (workerData as PoolWorkerData | null)?.[SHARE_KEY]
const checkpoint = share === undefined ? null : Checkpoint.adopt(share)

/**
 * The checkpoint of the pool that this thread belongs to: the same memory that every other thread reads.
 * @throws ClientError WEIGHTS_UNAVAILABLE outside a thread of a pool made by `createWorkerPool`
 */
export function weights(): Checkpoint {
  if (checkpoint !== null) return checkpoint
  const where = threadId === 0 ? 'the main thread' : `thread ${threadId}, which no onecopy pool started`
  throw new ClientError(
    'WEIGHTS_UNAVAILABLE',
    `weights() was called in ${where}; call it in the module that createWorkerPool runs`,
  )
}

/** This thread's worker and its place in the mesh, or null where the pool was made without a plan. */
export function place(): WorkerPlace | null {
  return (workerData as PoolWorkerData | null)?.[PLACE_KEY] ?? null
}
