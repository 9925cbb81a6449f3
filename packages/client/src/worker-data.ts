import type { CheckpointShare } from '@onecopy/checkpoint'

/** The key in a thread's workerData under which the pool hands it the checkpoint; everything else there is the user's. */
export const SHARE_KEY = 'onecopy:checkpoint'

/** The workerData of a pool's thread. */
export type PoolWorkerData = { readonly [SHARE_KEY]?: CheckpointShare }
