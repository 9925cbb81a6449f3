import { closeSync, fstatSync } from 'node:fs'
import { CheckpointError } from './errors.ts'

/** A shard whose header was read; the descriptor is open until `closeShards`. */
export interface OpenShard {
  readonly name: string
  readonly path: string
  readonly descriptor: number
  readonly byteLength: number // of the whole file
  readonly inode: bigint
  readonly modifiedNs: bigint // since the epoch, before the header was read
  readonly dataOffset: number // first byte behind the header
}

export function closeShards(shards: readonly OpenShard[]): void {
  for (const { descriptor } of shards) closeSync(descriptor)
}

/**
 * Sees to it that headers and data belong together: a file written to after its header was read is not what was checked.
 * @throws CheckpointError CHECKPOINT_CHANGED
 */
export function assertShardsUnchanged(shards: readonly OpenShard[]): void {
  for (const { descriptor, path, modifiedNs, byteLength } of shards) {
    const now = fstatSync(descriptor, { bigint: true })
    if (now.mtimeNs === modifiedNs && Number(now.size) === byteLength) continue
    const message = `Shard "${path}" was written to while it was opened; open it again`
    throw new CheckpointError('CHECKPOINT_CHANGED', message, { path })
  }
}
