import type { CheckpointShare } from '@onecopy/checkpoint'

/** The key in a thread's workerData under which the pool hands it the checkpoint; everything else there is the user's. */
export const SHARE_KEY = 'onecopy:checkpoint'

/** Likewise, for a worker of a plan: its place. */
export const PLACE_KEY = 'onecopy:place'

/** A worker of a plan, and its place in the mesh. */
export interface WorkerPlace {
  readonly name: string
  readonly replica: number
  readonly pp: number
  readonly ep: number
  readonly tp: number
  /** How many there are along each axis. */
  readonly mesh: { readonly pp: number; readonly tp: number; readonly ep: number; readonly replicas: number }
}

/** Likewise, for what the threads say about their imports: an `ImportBoard`. */
export const IMPORTS_KEY = 'onecopy:imports'

/**
 * Shared by the pool and its threads. Element 0 is 1 when the threads are about to be ended and must begin nothing more; a
 * thread that is importing has its threadId in element `1 + threadId % (length - 1)`. Two ids may meet there, which is why it
 * is long: the one that is overwritten is only not waited for.
 */
export type ImportBoard = Int32Array<SharedArrayBuffer>

export function createImportBoard(): ImportBoard {
  return new Int32Array(new SharedArrayBuffer(257 * Int32Array.BYTES_PER_ELEMENT))
}

/** The workerData of a pool's thread. */
export type PoolWorkerData = {
  readonly [SHARE_KEY]?: CheckpointShare
  readonly [PLACE_KEY]?: WorkerPlace
  readonly [IMPORTS_KEY]?: ImportBoard
}
