import type { Selection } from '@onecopy/safetensors'
import { FileMapping } from '@onecopy/sharedarraybuffer-utils'
import { buildDirectory } from './build-directory.ts'
import { Checkpoint } from './checkpoint.ts'
import { crossCheck } from './cross-check.ts'
import { Directory } from './directory.ts'
import { type CheckpointSource, type LocatedFiles, type LocateOptions, locateFiles } from './locate-files.ts'
import { openSelected } from './open-selected.ts'
import { quickDirectory } from './quick-directory.ts'
import { assertNamesOnce, closeShards, type OpenShard, readHeaders } from './read-headers.ts'
import { assertIndexUnchanged } from './read-index.ts'
import type { Progress } from './residency.ts'
import { type Backing, chooseBacking, type ShardMemory, takeMemory } from './shard-memory.ts'

/** How a checkpoint's pages come into RAM. */
export type ResidencyPolicy = 'lazy' | 'populate' | 'lock'

/** Options of `openCheckpoint`. */
export interface OpenOptions extends LocateOptions {
  /**
   * What the bytes are: `file` maps the files (the page cache, shared with all processes), `sealed` copies them into
   * memory that nobody can change any more (a coordinator hands it to other processes), `heap` reads them into this
   * process's memory, shared by its threads. @default `file` where this machine can, else `heap` with a warning
   */
  readonly backing?: Backing
  /**
   * `lazy` reads nothing until it is touched, `populate` resolves when everything is in RAM, `lock` also keeps it there.
   * @default `lazy`
   */
  readonly residency?: ResidencyPolicy
  /** Opens only this part, see `Checkpoint.select`: all headers are read, and nothing else of what is not selected. */
  readonly selection?: Selection
  /** Progress of whatever reads tensors: `populate`, `lock`, or sealed and heap backing. */
  readonly onProgress?: (progress: Progress) => void
  /** Gives up; nothing stays open. */
  readonly signal?: AbortSignal
}

/**
 * Opens a checkpoint: finds its files, reads and validates all headers, compares them with the index, and maps the
 * shards. No tensor is read. Everything is checked before anything is mapped, and a failure leaves nothing open.
 * @param source a `.safetensors` file, a folder, a shard index, a list of shards, or `hf:org/name[@revision]`
 * @throws CheckpointError, SafetensorsError (a file's content), SharedMemoryError (mapping); see docs/errors.md
 */
export async function openCheckpoint(source: CheckpointSource, options: OpenOptions = {}): Promise<Checkpoint> {
  const { signal, residency = 'lazy' } = options
  signal?.throwIfAborted()
  const files = await locateFiles(source, options)
  const shards = await readHeaders(files.shardPaths, signal).catch((error) => {
    void files.index?.content // throws for a tensor that stands twice there, which comes before whatever is wrong with a shard
    throw error
  })
  let checkpoint: Checkpoint
  try {
    checkpoint = await take(files.label, directoryOf(files, shards), shards, options)
  } finally {
    closeShards(shards)
  }
  try {
    if (files.index !== null) await assertIndexUnchanged(files.index)
    signal?.throwIfAborted()
    const progress = { ...(options.onProgress && { onProgress: options.onProgress }), ...(signal && { signal }) }
    if (residency === 'populate') await checkpoint.prefetch(progress)
    if (residency === 'lock') await checkpoint.lock(progress)
  } catch (error) {
    checkpoint.close()
    throw error
  }
  return checkpoint
}

/** Checks the shards against each other and against their index. */
function directoryOf({ index, label }: LocatedFiles, shards: readonly OpenShard[]): Directory {
  const quick = index === null || index.flat !== null ? quickDirectory(shards, index?.flat ?? null) : null
  if (quick !== null) return quick
  const content = index?.content ?? null
  assertNamesOnce(shards) // what is wrong within one file comes before what is wrong between two
  crossCheck(content, shards, label)
  return new Directory(buildDirectory(shards))
}

async function take(
  label: string,
  directory: Directory,
  shards: readonly OpenShard[],
  options: OpenOptions,
): Promise<Checkpoint> {
  const { selection } = options
  const backing = chooseBacking(options.backing)
  if (selection !== undefined && backing !== 'file') {
    return openSelected(label, directory, shards, selection, { ...options, backing })
  }
  const memory = await takeMemory(shards, { ...options, backing })
  describeParts(directory, memory)
  const whole = new Checkpoint(label, directory, memory)
  if (selection === undefined) return whole
  try {
    return await whole.select(selection, options.signal && { signal: options.signal })
  } finally {
    whole.close()
  }
}

/** Lets the report of a stray write name the tensor; see docs/memory-model.md. */
function describeParts(directory: Directory, memory: readonly ShardMemory[]): void {
  for (const [shard, mapping] of memory.entries()) {
    if (mapping instanceof FileMapping) mapping.describe(directory.partTable(shard))
  }
}
