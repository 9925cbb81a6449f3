import { FileMapping } from '@onecopy/sharedarraybuffer-utils'
import { buildDirectory } from './build-directory.ts'
import { Checkpoint } from './checkpoint.ts'
import { crossCheck } from './cross-check.ts'
import { Directory } from './directory.ts'
import { type CheckpointSource, type LocateOptions, locateFiles } from './locate-files.ts'
import { closeShards, readHeaders } from './read-headers.ts'
import { assertIndexUnchanged } from './read-index.ts'
import type { Progress } from './residency.ts'
import { type Backing, type ShardMemory, takeMemory } from './shard-memory.ts'

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
  const shards = await readHeaders(files.shardPaths, signal)
  let memory: ShardMemory[]
  let directory: Directory
  try {
    crossCheck(files.index?.content ?? null, shards, files.label)
    directory = new Directory(buildDirectory(shards))
    memory = await takeMemory(shards, options)
  } finally {
    closeShards(shards)
  }
  const checkpoint = new Checkpoint(files.label, directory, memory)
  try {
    if (files.index !== null) await assertIndexUnchanged(files.index)
    signal?.throwIfAborted()
    describeParts(directory, memory)
    const progress = { ...(options.onProgress && { onProgress: options.onProgress }), ...(signal && { signal }) }
    if (residency === 'populate') await checkpoint.prefetch(progress)
    if (residency === 'lock') await checkpoint.lock(progress)
  } catch (error) {
    checkpoint.close()
    throw error
  }
  return checkpoint
}

/** Lets the report of a stray write name the tensor; see docs/memory-model.md. */
function describeParts(directory: Directory, memory: readonly ShardMemory[]): void {
  for (const [shard, mapping] of memory.entries()) {
    if (mapping instanceof FileMapping) mapping.describe(directory.partTable(shard))
  }
}
