import {
  type ByteRange,
  evict,
  FileMapping,
  lock,
  populate,
  residentBytes,
  unlock,
} from '@onecopy/sharedarraybuffer-utils/mapped'
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
  /** Ranges that lie at most this many bytes apart are read as one, with what is between them. @default 4096, a page */
  readonly maxGapBytes?: number
  /** The tensors concerned. @default all */
  readonly tensors?: Iterable<string>
  /** Called several times a second on a usual disk. */
  readonly onProgress?: (progress: Progress) => void
  /** Stops soon after it is aborted; what is in RAM by then stays there. */
  readonly signal?: AbortSignal
}

/** Ranges of one shard that are brought in together. */
export interface ReadStep {
  readonly shard: number
  readonly ranges: readonly ByteRange[] // bytes of the shard file
}

/** A tensor's place: a range of a shard file. */
export interface PlacedRange extends ByteRange {
  readonly shard: number
}

const DEFAULT_MAX_GAP_BYTES = 4096

/** The ranges in their order, neighbours joined, with a step for each stretch that stays in one shard. */
export function readSteps(ranges: Iterable<PlacedRange>, maxGapBytes: number = DEFAULT_MAX_GAP_BYTES): ReadStep[] {
  const steps: { shard: number; ranges: { begin: number; end: number }[] }[] = []
  for (const { shard, begin, end } of ranges) {
    if (begin === end) continue
    let step = steps.at(-1)
    if (step?.shard !== shard) {
      step = { shard, ranges: [] }
      steps.push(step)
    }
    const before = step.ranges.at(-1)
    if (before !== undefined && before.begin <= begin && begin <= before.end + maxGapBytes) {
      before.end = Math.max(before.end, end)
    } else {
      step.ranges.push({ begin, end })
    }
  }
  return steps
}

type Bring = typeof populate

export async function populateShards(
  memory: readonly ShardMemory[],
  steps: readonly ReadStep[],
  options: PrefetchOptions,
): Promise<void> {
  await bringSteps(populate, memory, steps, options)
}

export async function lockShards(
  memory: readonly ShardMemory[],
  steps: readonly ReadStep[],
  options: PrefetchOptions,
): Promise<void> {
  let locked = 0
  const lockNext: Bring = async (...step) => {
    await lock(...step)
    locked++
  }
  try {
    await bringSteps(lockNext, memory, steps, options)
  } catch (error) {
    // All or nothing, over all steps. Only mapped shards were locked, and a checkpoint's are all mapped or none.
    for (const { shard, ranges } of steps.slice(0, locked)) {
      const mapping = memory[shard]!
      if (mapping instanceof FileMapping && !mapping.closed) await unlock(mapping, ranges)
    }
    throw error
  }
}

/** One step after the other: that keeps the disk reading forward, and `bring` is parallel inside a step. */
async function bringSteps(
  bring: Bring,
  memory: readonly ShardMemory[],
  steps: readonly ReadStep[],
  options: PrefetchOptions,
): Promise<void> {
  const { onProgress, signal } = options
  const totalBytes = bytesOf(steps.flatMap(({ ranges }) => ranges))
  let before = 0
  for (const { shard, ranges } of steps) {
    signal?.throwIfAborted()
    const mapping = memory[shard]!
    if (mapping instanceof FileMapping) {
      await bring(mapping, ranges, {
        onProgress: (done) => onProgress?.({ doneBytes: before + done, totalBytes }),
        ...(signal && { signal }),
      })
    }
    before += bytesOf(ranges)
    if (!(mapping instanceof FileMapping)) onProgress?.({ doneBytes: before, totalBytes })
  }
}

function bytesOf(ranges: readonly ByteRange[]): number {
  return ranges.reduce((sum, { begin, end }) => sum + end - begin, 0)
}

export function residencyOf(memory: readonly ShardMemory[], steps: readonly ReadStep[]): Residency {
  let byteLength = 0
  let resident: number | null = 0
  for (const { shard, ranges } of steps) {
    const mapping = memory[shard]!
    for (const range of ranges) {
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
