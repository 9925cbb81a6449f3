import { fstatSync } from 'node:fs'
import { type Descriptor, openRegularFile } from '@onecopy/sharedarraybuffer-utils'
import { CheckpointError, messageOf } from './errors.ts'

/** A shard whose header was read. */
export interface OpenShard {
  readonly name: string
  readonly path: string
  /** Open until `closeShards`; null where a checkpoint has more shards than are held open, see `openShard`. */
  readonly descriptor: Descriptor | null
  readonly byteLength: number // of the whole file
  readonly inode: bigint
  readonly modifiedNs: bigint // since the epoch, before the header was read
  readonly dataOffset: number // first byte behind the header
}

/** More are opened again one by one when their bytes are taken: a process may have few descriptors. */
export const MAX_SHARDS_HELD_OPEN = 256 // the number stands in native/quick-read.cc too

export function closeShards(shards: readonly OpenShard[]): void {
  for (const { descriptor } of shards) descriptor?.close()
}

/**
 * The file of a shard, for the caller to close.
 * @throws CheckpointError CHECKPOINT_CHANGED when it is not the one whose header was read, SHARD_UNREADABLE
 */
export function openShard(shard: OpenShard): Descriptor {
  const { path, descriptor } = shard
  if (descriptor !== null) return descriptor.share()
  let again: Descriptor
  try {
    again = openRegularFile(path)
  } catch (cause) {
    throw new CheckpointError('SHARD_UNREADABLE', `Cannot open shard "${path}": ${messageOf(cause)}`, { path, cause })
  }
  try {
    assertUnchanged(shard, again)
    return again
  } catch (error) {
    again.close()
    throw error
  }
}

/**
 * Sees to it that header and data belong together: a file written to after its header was read is not what was checked.
 * @throws CheckpointError CHECKPOINT_CHANGED
 */
export function assertUnchanged({ path, inode, modifiedNs, byteLength }: OpenShard, file: Descriptor): void {
  const now = fstatSync(file.number, { bigint: true })
  if (now.ino === inode && now.mtimeNs === modifiedNs && Number(now.size) === byteLength) return
  const message = `Shard "${path}" was written to while it was opened; open it again`
  throw new CheckpointError('CHECKPOINT_CHANGED', message, { path })
}
