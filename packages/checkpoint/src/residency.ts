import {
  type ByteRange,
  evict,
  FileMapping,
  lock,
  populate,
  residentBytes,
  unlock,
} from '@onecopy/sharedarraybuffer-utils'
import type { ShardMemory } from './shard-memory.ts'

/** How much of a checkpoint is in RAM, in bytes of tensors. */
export interface Residency {
  readonly byteLength: number
  /** Null where the kernel does not tell: files of another user that this one may not write to. */
  readonly residentBytes: number | null
}

/** How far a long operation is; both counts are bytes. */
export interface Progress {
  readonly doneBytes: number
  readonly totalBytes: number
}

/** Options of `prefetch` and `lock`. */
export interface PrefetchOptions {
  /** The tensors concerned. @default all */
  readonly tensors?: Iterable<string>
  /** Called several times a second on a usual disk. */
  readonly onProgress?: (progress: Progress) => void
  /** Stops soon after it is aborted; what is in RAM by then stays there. */
  readonly signal?: AbortSignal
}

type Ranges = readonly (readonly ByteRange[])[]
type Bring = typeof populate

export async function populateShards(
  memory: readonly ShardMemory[],
  ranges: Ranges,
  options: PrefetchOptions,
): Promise<void> {
  await bringShards(populate, memory, ranges, options)
}

export async function lockShards(
  memory: readonly ShardMemory[],
  ranges: Ranges,
  options: PrefetchOptions,
): Promise<void> {
  let locked = 0
  const lockNext: Bring = async (...shard) => {
    await lock(...shard)
    locked++
  }
  try {
    await bringShards(lockNext, memory, ranges, options)
  } catch (error) {
    // All or nothing, over all shards.
    for (let shard = 0; shard < locked; shard++) {
      const mapping = memory[shard]!
      if (mapping instanceof FileMapping && !mapping.closed) await unlock(mapping, ranges[shard]!)
    }
    throw error
  }
}

/** One shard after the other: that keeps the disk reading forward, and `bring` is parallel inside a shard. */
async function bringShards(
  bring: Bring,
  memory: readonly ShardMemory[],
  ranges: Ranges,
  options: PrefetchOptions,
): Promise<void> {
  const { onProgress, signal } = options
  const totalBytes = ranges.flat().reduce((sum, { begin, end }) => sum + end - begin, 0)
  let before = 0
  for (const [shard, wanted] of ranges.entries()) {
    signal?.throwIfAborted()
    const mapping = memory[shard]!
    const shardBytes = wanted.reduce((sum, { begin, end }) => sum + end - begin, 0)
    if (mapping instanceof FileMapping) {
      await bring(mapping, wanted, {
        onProgress: (done) => onProgress?.({ doneBytes: before + done, totalBytes }),
        ...(signal && { signal }),
      })
    }
    before += shardBytes
    if (!(mapping instanceof FileMapping)) onProgress?.({ doneBytes: before, totalBytes })
  }
}

export function residencyOf(memory: readonly ShardMemory[], ranges: Ranges): Residency {
  let byteLength = 0
  let resident: number | null = 0
  for (const [shard, wanted] of ranges.entries()) {
    const mapping = memory[shard]!
    for (const range of wanted) {
      const bytes = mapping instanceof FileMapping ? residentBytes(mapping, range) : range.end - range.begin
      byteLength += range.end - range.begin
      resident = bytes === null || resident === null ? null : resident + bytes
    }
  }
  return { byteLength, residentBytes: resident }
}

export function evictShards(memory: readonly ShardMemory[]): void {
  for (const mapping of memory) if (mapping instanceof FileMapping) evict(mapping)
}
