import { randomUUID } from 'node:crypto'
import type { BigIntStats } from 'node:fs'
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import {
  checkArgument,
  checkMetadata,
  checkOptions,
  indexFileName,
  type MetadataInput,
  rules,
  SafetensorsError,
  serializeShardIndex,
  tensorByteLength,
} from '@onecopy/safetensors'
import { CheckpointError, messageOf } from './errors.ts'
import { numberedShard } from './folder-contents.ts'
import { NewFile } from './new-file.ts'
import { type PlannedShard, planShards, type ShardNaming } from './plan-shards.ts'
import { assertReplaceable, replaceFiles, type WrittenFile } from './replace-files.ts'
import type { Progress } from './residency.ts'
import { familyOf, SaveMark } from './save-mark.ts'
import type { TensorView } from './tensor-view.ts'
import { type TensorsToSave, type TensorToSave, tensorsToSave } from './tensors-to-save.ts'
import { writeShard } from './write-shard.ts'

/** huggingface_hub's own default. */
const DEFAULT_MAX_SHARD_BYTES = 5_000_000_000

/** Options of `saveCheckpoint`. */
export interface SaveOptions {
  /** Tensor bytes in one shard at most; a larger tensor gets a shard of its own. @default 5 GB, as huggingface_hub */
  readonly maxShardBytes?: number
  /** Written as `__metadata__` of every shard and into the index. @default `{ format: 'pt' }`, which loaders look for */
  readonly metadata?: MetadataInput
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
 * a mixture. Shards of an earlier save with the same stem and variant are removed, and so is what a save that was killed has
 * left. One save at a time goes to a folder, stem and variant.
 * @param directory made if it is missing
 * @param tensors a list, or a Map or object by name; views may be those of the checkpoint that is replaced
 * @throws CheckpointError SAVE_INVALID (the input), SAVE_IN_PROGRESS (another save), SAVE_FAILED (the disk); SafetensorsError
 * for what cannot be written; TypeError, RangeError for a wrong argument or option
 */
export async function saveCheckpoint(
  directory: string,
  tensors: TensorsToSave,
  options: SaveOptions = {},
): Promise<SavedCheckpoint> {
  checkSaving(directory, options)
  const { maxShardBytes = DEFAULT_MAX_SHARD_BYTES, metadata = { format: 'pt' }, signal, onProgress } = options
  const naming: ShardNaming = { stem: options.stem ?? 'model', variant: options.variant ?? null }
  const folder = resolve(directory)
  const all = tensorsToSave(tensors)
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
  let mark: SaveMark | null = null
  let replacing = false
  try {
    await makeFolder(folder)
    mark = await SaveMark.take(folder, naming, suffix)
    const written: WrittenFile[] = []
    for (const { fileName: name, tensors: own } of shards) {
      const path = join(folder, name + suffix)
      written.push({ name, state: await writeShard(path, own, metadata, { onBytes, signal }) })
    }
    const writtenIndex =
      index === null ? null : { name: indexName, state: await writeSynced(join(folder, indexName + suffix), index) }
    signal?.throwIfAborted()
    const family = familyOf(naming)
    const stale = (await readdir(folder)).filter((name) => isShardOf(name, family) && !names.includes(name))
    await assertReplaceable(folder, [...names, indexName])
    await mark.beginReplacing()
    replacing = true
    await replaceFiles({ folder, suffix, shards: written, index: writtenIndex, indexName, stale })
    await mark.endReplacing()
  } catch (cause) {
    if (!replacing) await removeAll([...names, indexName].map((name) => join(folder, name + suffix)))
    if (cause instanceof CheckpointError || cause instanceof SafetensorsError || (signal?.aborted && !replacing))
      throw cause
    const left = replacing ? '; its files are of two saves now: save again' : ''
    const message = `Cannot save ${totalBytes} bytes to "${folder}": ${messageOf(cause)}${left}`
    throw new CheckpointError('SAVE_FAILED', message, { path: folder, cause })
  } finally {
    await mark?.end().catch(() => {}) // the folder may be gone; that is said already
  }
  return {
    shardPaths: names.map((name) => join(folder, name)),
    indexPath: index === null ? null : join(folder, indexName),
    byteLength: totalBytes,
  }
}

/** A file that is named like one shard of several would never open: by its name the others are missing. */
const NAME_PART = {
  ...rules.text,
  must: "a text that is not empty, and does not end like a shard's number (-00001-of-00002)",
  isWithin: (text: string) => text !== '' && (numberedShard(`stem.${text}.safetensors`)?.count ?? 1) === 1,
}

function checkSaving(directory: unknown, options: SaveOptions): void {
  const isWithin = (path: string): boolean => path !== '' && !path.includes('\0')
  checkArgument('The directory of saveCheckpoint()', directory, {
    ...rules.text,
    must: 'the path of a folder',
    isWithin,
  })
  checkOptions('saveCheckpoint()', options, {
    maxShardBytes: null, // planShards
    metadata: null,
    stem: NAME_PART,
    variant: NAME_PART,
    onProgress: rules.callback,
    signal: rules.signal,
  })
  if (options.metadata != null) checkMetadata('The option metadata of saveCheckpoint()', options.metadata)
}

function serializeIndex(
  shards: readonly PlannedShard<TensorToSave | TensorView>[],
  totalSize: number,
  metadata: MetadataInput,
): Uint8Array {
  const weightMap = new Map<string, string>()
  for (const { fileName, tensors } of shards) for (const { name } of tensors) weightMap.set(name, fileName)
  return serializeShardIndex({ weightMap, totalSize, metadata: entriesOf(metadata) })
}

function entriesOf(metadata: MetadataInput): ReadonlyMap<string, string> {
  return metadata instanceof Map ? metadata : new Map(Object.entries(metadata ?? {}))
}

/** Whether a file is a shard that an earlier save with the same names may have left. */
function isShardOf(name: string, family: string | null): boolean {
  return name.endsWith('.safetensors') && familyOf(name) === family
}

async function writeSynced(path: string, bytes: Uint8Array): Promise<BigIntStats> {
  using file = new NewFile(path)
  await file.write(bytes)
  return await file.sync()
}

async function removeAll(paths: readonly string[]): Promise<void> {
  for (const path of paths) await rm(path, { force: true }).catch(() => {})
}

/** One by one: where no folder can be made, as in /proc, Node's mkdir with `recursive` tries for ever. */
async function makeFolder(path: string): Promise<void> {
  const isThere = (): Promise<boolean> =>
    stat(path).then(
      (found) => found.isDirectory(),
      () => false,
    )
  if (await isThere()) return
  if (dirname(path) !== path) await makeFolder(dirname(path))
  // Another process may be making the same.
  await mkdir(path).catch(async (error) => {
    if (!(await isThere())) throw error
  })
}
