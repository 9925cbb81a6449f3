import { closeSync, fstatSync, readFile } from 'node:fs'
import { stat } from 'node:fs/promises'
import { promisify } from 'node:util'
import {
  type FlatIndex,
  MAX_INDEX_BYTES,
  parseShardIndex,
  type ShardIndex,
  scanFlatIndex,
  withPath,
} from '@onecopy/safetensors'
import { openRegularFile } from '@onecopy/sharedarraybuffer-utils'
import { CheckpointError, messageOf } from './errors.ts'

/** A shard index that was read, and which state of the file it was. */
export interface IndexFile {
  readonly path: string
  /** The weight map in columns, or null where it is written in an unusual way. */
  readonly flat: FlatIndex | null
  readonly shardNames: readonly string[]
  /**
   * The index, read by the strict parser: only when somebody asks, if it could be read into columns.
   * @throws SafetensorsError with `path`, for a tensor that stands twice
   */
  readonly content: ShardIndex
  readonly inode: number
  readonly modifiedMs: number
  readonly byteLength: number
}

/**
 * Reads a shard index.
 * @throws CheckpointError INDEX_UNREADABLE
 * @throws SafetensorsError with `path`, when its content is refused; a tensor that stands twice may wait for `content`
 */
export async function readIndexFile(path: string): Promise<IndexFile> {
  const { bytes, ...state } = await readWhole(path).catch((cause) => {
    if (cause instanceof CheckpointError) throw cause
    throw new CheckpointError('INDEX_UNREADABLE', `Cannot read shard index "${path}": ${messageOf(cause)}`, {
      path,
      cause,
    })
  })
  try {
    const flat = scanFlatIndex(bytes)
    let parsed = flat === null ? parseShardIndex(bytes) : null
    return {
      path,
      ...state,
      flat,
      shardNames: flat?.shardNames ?? parsed!.shardNames,
      get content() {
        try {
          parsed ??= parseShardIndex(bytes)
        } catch (error) {
          throw withPath(error, path)
        }
        return parsed
      },
    }
  } catch (error) {
    throw withPath(error, path)
  }
}

async function readWhole(path: string) {
  const descriptor = openRegularFile(path)
  try {
    const { ino, mtimeMs, size } = fstatSync(descriptor)
    if (size > MAX_INDEX_BYTES) {
      const message = `Shard index "${path}" has ${size} bytes; at most ${MAX_INDEX_BYTES} are read`
      throw new CheckpointError('INDEX_UNREADABLE', message, { path })
    }
    const bytes = await promisify(readFile)(descriptor)
    return { bytes, inode: ino, modifiedMs: mtimeMs, byteLength: size }
  } finally {
    closeSync(descriptor)
  }
}

/**
 * Sees to it that shards and index belong together: a save replaces the shards first and the index last, so an index
 * that is still the one that was read means that no shard was replaced in between.
 * @throws CheckpointError CHECKPOINT_CHANGED
 */
export async function assertIndexUnchanged({ path, inode, modifiedMs, byteLength }: IndexFile): Promise<void> {
  const now = await stat(path).catch(() => null)
  if (now?.ino === inode && now.mtimeMs === modifiedMs && now.size === byteLength) return
  const message = `Checkpoint of "${path}" was replaced while it was opened; open it again`
  throw new CheckpointError('CHECKPOINT_CHANGED', message, { path })
}
