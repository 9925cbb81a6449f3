import {
  addonFailure,
  type ByteRange,
  capabilities,
  copyToHeap,
  type FileMapping,
  type FileMappingShare,
  type HeapCopy,
  type HeapCopyShare,
  mapDescriptor,
  SharedMemoryError,
  sealFile,
} from '@onecopy/sharedarraybuffer-utils'
import { assertUnchanged, type OpenShard, openShard } from './open-shard.ts'
import type { Progress } from './residency.ts'

/** What a checkpoint's bytes are: the page cache, sealed memory, or this process's own. */
export type Backing = 'file' | 'sealed' | 'heap'

/** A shard's memory: mapped, or copied where there is no mapping. */
export type ShardMemory = FileMapping | HeapCopy

/** How a shard's memory travels to another thread. */
export type ShardMemoryShare = FileMappingShare | HeapCopyShare

/** Options of whatever reads tensors. */
export interface ReadOptions {
  /** Progress of whatever reads tensors: `populate`, `lock`, or sealed and heap backing. */
  readonly onProgress?: (progress: Progress) => void
  /** Gives up; nothing stays open. */
  readonly signal?: AbortSignal
}

/** Which bytes of a shard are taken. */
export type RangesOf = (shard: OpenShard) => readonly ByteRange[]

/** Options of `takeMemory`: sealed memory is the whole file unless there are ranges, heap memory those that a tensor has. */
export type MemoryOptions = ReadOptions &
  (
    | { readonly backing: 'file' }
    | { readonly backing: 'sealed'; readonly rangesOf?: RangesOf }
    | { readonly backing: 'heap'; readonly rangesOf: RangesOf }
  )

/**
 * Maps, seals or reads every shard, or none.
 * @throws CheckpointError CHECKPOINT_CHANGED when a file was written to meanwhile; SharedMemoryError
 */
export async function takeMemory(shards: readonly OpenShard[], options: MemoryOptions): Promise<ShardMemory[]> {
  const { onProgress, signal } = options
  const memory: ShardMemory[] = []
  const readBytes = (shard: OpenShard): number => {
    if (options.backing === 'file' || options.rangesOf === undefined) return shard.byteLength
    return options.rangesOf(shard).reduce((sum, { begin, end }) => sum + end - begin, 0)
  }
  const totalBytes = shards.reduce((sum, shard) => sum + readBytes(shard), 0)
  let before = 0
  const hooks = {
    onProgress: (doneBytes: number) => onProgress?.({ doneBytes: before + doneBytes, totalBytes }),
    ...(signal && { signal }),
  }
  try {
    for (const shard of shards) {
      const { path, byteLength } = shard
      using file = openShard(shard)
      if (options.backing === 'file') {
        memory.push(mapDescriptor(file, path, { expectedByteLength: byteLength }))
      } else if (options.backing === 'sealed') {
        const part = options.rangesOf && { ranges: options.rangesOf(shard) }
        memory.push(await sealFile(file, path, byteLength, { ...hooks, ...part }))
      } else {
        memory.push(await copyToHeap(file, path, byteLength, options.rangesOf(shard), hooks))
      }
      assertUnchanged(shard, file)
      before += readBytes(shard)
    }
    return memory
  } catch (error) {
    for (const shard of memory) shard.close()
    throw error
  }
}

/** What a checkpoint's bytes may become, best first: what was asked for, else what this machine has. */
export function backingsFor(asked: Backing | 'auto'): readonly [Backing, ...Backing[]] {
  if (asked !== 'auto') return [asked]
  if (addonFailure === null) return ['file', capabilities().sealing ? 'sealed' : 'heap']
  warnOnce('ONECOPY_HEAP', `Checkpoints are read into this process's own memory: ${addonFailure}`)
  return ['heap']
}

/** Whether a file system has no mmap: FUSE with direct I/O, some network disks. */
export function isUnmappable(error: unknown): error is SharedMemoryError {
  return error instanceof SharedMemoryError && error.code === 'MAP_FAILED' && error.errnoName === 'ENODEV'
}

const warned = new Set<string>()

/** A warning that a process gives once for each code. */
export function warnOnce(code: string, message: string): void {
  if (warned.has(code)) return
  warned.add(code)
  process.emitWarning(message, { code })
}
