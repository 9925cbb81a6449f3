import type { Selection } from '@onecopy/safetensors'
import type { Checkpoint } from './checkpoint.ts'

/** A newer version of an attached checkpoint, see `Checkpoint.followLatest`. */
export interface NewVersion {
  readonly checkpoint: string
  readonly version: number
}

/** Options of `followLatest`. */
export interface FollowOptions {
  /** Gives up; this checkpoint stays as it is. */
  readonly signal?: AbortSignal
  /** How long the coordinator may take, in milliseconds. @default as long as loading takes; 30000 for one that has restarted */
  readonly timeoutMs?: number
}

/** Who handed a checkpoint out, and what it wants to hear of it: a client of a coordinator. */
export interface CheckpointOrigin {
  readonly version: number | null
  /** Called once, when the checkpoint is closed. */
  release(): void
  /** The newest version, or the given one when it is the newest. */
  latest(current: Checkpoint, options: FollowOptions): Promise<Checkpoint>
  /** A selected part with a lease of its own, whose arenas all processes share; null when that cannot be had now. */
  select?(selection: Selection, options: FollowOptions): Promise<Checkpoint | null>
}

/** Of a thread that was handed an attached checkpoint: the lease is with whoever attached it, and so is the news. */
export function leasedElsewhere(version: number): CheckpointOrigin {
  return { version, release: () => {}, latest: async (current) => current }
}
