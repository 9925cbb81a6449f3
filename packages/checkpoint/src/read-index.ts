import { fstatSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { MAX_INDEX_BYTES } from '@onecopy/safetensors'
import { openRegularFile } from '@onecopy/sharedarraybuffer-utils'
import { CheckpointError, messageOf } from './errors.ts'
import { readText } from './read-text.ts'

/** Which state of a shard index was read. */
export interface IndexState {
  readonly path: string
  readonly inode: bigint
  readonly modifiedNs: bigint // since the epoch
  readonly byteLength: number
}

/** A shard index whose text was read. */
export interface IndexFile extends IndexState {
  readonly json: Uint8Array
}

/**
 * Reads the text of a shard index.
 * @throws CheckpointError INDEX_UNREADABLE; the signal's reason
 */
export async function readIndexFile(path: string, signal?: AbortSignal): Promise<IndexFile> {
  return readWhole(path, signal).catch((cause) => {
    if (cause instanceof CheckpointError || signal?.aborted) throw cause
    throw new CheckpointError('INDEX_UNREADABLE', `Cannot read shard index "${path}": ${messageOf(cause)}`, {
      path,
      cause,
    })
  })
}

async function readWhole(path: string, signal: AbortSignal | undefined): Promise<IndexFile> {
  using file = openRegularFile(path)
  const { ino: inode, mtimeNs: modifiedNs, size } = fstatSync(file.number, { bigint: true })
  const byteLength = Number(size)
  if (byteLength > MAX_INDEX_BYTES) {
    const message = `Shard index "${path}" has ${byteLength} bytes; at most ${MAX_INDEX_BYTES} are read`
    throw new CheckpointError('INDEX_UNREADABLE', message, { path })
  }
  return { path, inode, modifiedNs, byteLength, json: await readText(file, 0, byteLength, signal) }
}

/**
 * Sees to it that shards and index belong together: a save replaces the shards first and the index last, so an index
 * that is still the one that was read means that no shard was replaced in between.
 * @throws CheckpointError CHECKPOINT_CHANGED
 */
export async function assertIndexUnchanged({ path, inode, modifiedNs, byteLength }: IndexState): Promise<void> {
  const now = await stat(path, { bigint: true }).catch(() => null)
  if (now?.ino === inode && now.mtimeNs === modifiedNs && Number(now.size) === byteLength) return
  const message = `Checkpoint of "${path}" was replaced while it was opened; open it again`
  throw new CheckpointError('CHECKPOINT_CHANGED', message, { path })
}
