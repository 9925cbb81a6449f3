import { randomUUID } from 'node:crypto'
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import {
  indexFileName,
  parseShardFileName,
  SafetensorsError,
  serializeShardIndex,
  tensorByteLength,
} from '@onecopy/safetensors'
import { CheckpointError, messageOf } from './errors.ts'
import { type PlannedShard, planShards, type ShardNaming } from './plan-shards.ts'
import type { Progress } from './residency.ts'
import type { TensorView } from './tensor-view.ts'
import { type TensorToSave, writeShard } from './write-shard.ts'

/** huggingface_hub's own default. */
const DEFAULT_MAX_SHARD_BYTES = 5_000_000_000

/** Options of `saveCheckpoint`. */
export interface SaveOptions {
  /** Tensor bytes in one shard at most; a larger tensor gets a shard of its own. @default 5 GB, as huggingface_hub */
  readonly maxShardBytes?: number
  /** Written as `__metadata__` of every shard and into the index. @default `{ format: 'pt' }`, which loaders look for */
  readonly metadata?: Readonly<Record<string, string>> | null
  /** What the file names begin with. @default `model` */
  readonly stem?: string
  /** The variant in the file names, such as `fp16`. @default none */
  readonly variant?: string
  readonly onProgress?: (progress: Progress) => void
  /** Gives up before anything is replaced; nothing stays behind. */
  readonly signal?: AbortSignal
}

/** What was written. */
export interface SavedCheckpoint {
  readonly shardPaths: readonly string[]
  /** Null where one file holds everything. */
  readonly indexPath: string | null
  /** Sum of all tensors' bytes. */
  readonly byteLength: number
}

/**
 * Writes a checkpoint: shards and index as huggingface_hub lays them out, or a single file when one shard is enough.
 *
 * All files are written beside their final names, synced, and renamed into place, the index last: readers that have the
 * old files mapped keep them, and a reader that opens meanwhile gets the old checkpoint, the new one, or an error, never
 * a mixture. Shards of an earlier save with the same stem and variant are removed.
 * @param directory made if it is missing
 * @throws CheckpointError SAVE_INVALID (the input), SAVE_FAILED (the disk); SafetensorsError for what cannot be written
 */
export async function saveCheckpoint(
  directory: string,
  tensors: Iterable<TensorToSave | TensorView>,
  options: SaveOptions = {},
): Promise<SavedCheckpoint> {
  const { maxShardBytes = DEFAULT_MAX_SHARD_BYTES, metadata = { format: 'pt' }, signal, onProgress } = options
  const naming: ShardNaming = { stem: options.stem ?? 'model', variant: options.variant ?? null }
  const folder = resolve(directory)
  const all = [...tensors]
  const shards = planShards(all, maxShardBytes, naming)
  const totalBytes = all.reduce((sum, { dtype, shape }) => sum + tensorByteLength(dtype, shape), 0)
  const index = shards.length > 1 ? serializeIndex(shards, totalBytes, metadata) : null
  const suffix = `.${randomUUID()}.tmp`
  let doneBytes = 0
  const onBytes = (byteLength: number): void => {
    doneBytes = Math.min(totalBytes, doneBytes + byteLength)
    onProgress?.({ doneBytes, totalBytes })
  }
  const indexName = indexFileName(naming)
  const names = shards.map(({ fileName }) => fileName)
  try {
    await mkdir(folder, { recursive: true })
    for (const { fileName, tensors: own } of shards) {
      await writeShard(join(folder, fileName + suffix), own, metadata, { onBytes, signal })
    }
    if (index !== null) await writeSynced(join(folder, indexName + suffix), index)
    signal?.throwIfAborted()
    const stale = (await readdir(folder)).filter((name) => belongsTo(name, naming) && !names.includes(name))
    // From here to the last rename a reader finds either the old index gone (an error) or the new one (all shards new).
    await rm(join(folder, indexName), { force: true })
    for (const name of names) await rename(join(folder, name + suffix), join(folder, name))
    for (const name of stale) await rm(join(folder, name), { force: true })
    if (index !== null) await rename(join(folder, indexName + suffix), join(folder, indexName))
    await syncFolder(folder)
  } catch (cause) {
    for (const name of [...names, indexName]) await rm(join(folder, name + suffix), { force: true }).catch(() => {})
    if (cause instanceof CheckpointError || cause instanceof SafetensorsError || signal?.aborted) throw cause
    throw new CheckpointError('SAVE_FAILED', `Cannot save to "${folder}": ${messageOf(cause)}`, { path: folder, cause })
  }
  return {
    shardPaths: names.map((name) => join(folder, name)),
    indexPath: index === null ? null : join(folder, indexName),
    byteLength: totalBytes,
  }
}

function serializeIndex(
  shards: readonly PlannedShard<TensorToSave | TensorView>[],
  totalSize: number,
  metadata: Readonly<Record<string, string>> | null,
): Uint8Array {
  const weightMap = new Map<string, string>()
  for (const { fileName, tensors } of shards) for (const { name } of tensors) weightMap.set(name, fileName)
  return serializeShardIndex({ weightMap, totalSize, metadata: new Map(Object.entries(metadata ?? {})) })
}

/** Whether a file is a shard that an earlier save with the same names may have left. */
function belongsTo(fileName: string, naming: ShardNaming): boolean {
  const parsed = parseShardFileName(fileName)
  return parsed !== null && marked(parsed) === marked(naming)
}

/** Stem and variant in one: in `my.model.safetensors` nobody can tell where one ends and the other begins. */
function marked({ stem, variant }: ShardNaming): string {
  return variant === null ? stem : `${stem}.${variant}`
}

async function writeSynced(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, 'wx')
  try {
    await file.writeFile(bytes)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Makes the renames themselves survive a power failure. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
