import {
  addonFailure,
  adoptFileMapping,
  type ByteRange,
  capabilities,
  copyToHeap,
  type FileMapping,
  type FileMappingShare,
  HeapCopy,
  type HeapCopyShare,
  mapDescriptor,
  sealFile,
} from '@onecopy/sharedarraybuffer-utils'
import { assertShardsUnchanged, columnsOf, type OpenShard } from './read-headers.ts'
import type { Progress } from './residency.ts'

/** What a checkpoint's bytes are: the page cache, sealed memory, or this process's own. */
export type Backing = 'file' | 'sealed' | 'heap'

/** A shard's memory: mapped, or copied where there is no mapping. */
export type ShardMemory = FileMapping | HeapCopy

/** How a shard's memory travels to another thread. */
export type ShardMemoryShare = FileMappingShare | HeapCopyShare

/** Options of `takeMemory`. */
export interface MemoryOptions {
  readonly backing?: Backing
  /** What is sealed or read of each shard; mapping takes nothing. @default all of it */
  readonly rangesOf?: (shard: OpenShard) => readonly ByteRange[]
  readonly onProgress?: (progress: Progress) => void
  readonly signal?: AbortSignal
}

/**
 * Maps, seals or reads every shard, or none.
 * @throws CheckpointError CHECKPOINT_CHANGED when a file was written to meanwhile; SharedMemoryError
 */
export async function takeMemory(shards: readonly OpenShard[], options: MemoryOptions): Promise<ShardMemory[]> {
  const { rangesOf, onProgress, signal } = options
  const memory: ShardMemory[] = []
  const backing = chooseBacking(options.backing)
  // Heap backing leaves the headers out; sealed memory is the file, byte for byte.
  const readBytes = (shard: OpenShard): number => {
    if (rangesOf !== undefined) return rangesOf(shard).reduce((sum, { begin, end }) => sum + end - begin, 0)
    return backing === 'heap' ? shard.byteLength - shard.dataOffset : shard.byteLength
  }
  const totalBytes = shards.reduce((sum, shard) => sum + readBytes(shard), 0)
  let before = 0
  const hooks = {
    onProgress: (doneBytes: number) => onProgress?.({ doneBytes: before + doneBytes, totalBytes }),
    ...(signal && { signal }),
  }
  try {
    for (const shard of shards) {
      const { descriptor, path, byteLength } = shard
      if (backing === 'file') memory.push(mapDescriptor(descriptor, path, { expectedByteLength: byteLength }))
      else if (backing === 'sealed') {
        const part = rangesOf && { ranges: rangesOf(shard) }
        memory.push(await sealFile(descriptor, path, byteLength, { ...hooks, ...part }))
      } else {
        const parts = rangesOf?.(shard) ?? partsOf(shard)
        memory.push(await copyToHeap(descriptor, path, byteLength, parts, hooks))
      }
      before += readBytes(shard)
    }
    assertShardsUnchanged(shards)
    return memory
  } catch (error) {
    for (const shard of memory) shard.close()
    throw error
  }
}

/** The same memory in another thread of the process. */
export function adoptMemory(share: ShardMemoryShare): ShardMemory {
  return share.backing === 'heap' ? new HeapCopy(share.path, share.byteLength, share.parts) : adoptFileMapping(share)
}

let warned = false

/** The backing that was asked for, else the best that this machine has; a poor one with a warning. */
export function chooseBacking(asked: Backing | undefined): Backing {
  if (asked !== undefined) return asked
  const best = capabilities().backings[0]!
  if (best === 'heap' && !warned) {
    warned = true
    const message = `Checkpoints are read into this process's own memory: ${addonFailure}`
    process.emitWarning(message, { code: 'ONECOPY_HEAP' })
  }
  return best
}

function partsOf(shard: OpenShard): ByteRange[] {
  const { begins, ends } = columnsOf(shard)
  const { dataOffset } = shard
  return Array.from(begins, (begin, tensor) => ({ begin: dataOffset + begin, end: dataOffset + ends[tensor]! }))
}
