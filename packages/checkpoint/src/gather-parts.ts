import { forEachCopy, gatherSelected } from '@onecopy/safetensors'
import {
  closeDescriptors,
  type Descriptor,
  FileMapping,
  type HeapCopy,
  residentBytes,
} from '@onecopy/sharedarraybuffer-utils'
import { type Arena, gatherArena, gatherHeapArena } from './arena.ts'
import type { GatherOptions } from './arena-set.ts'
import { assertUnchanged, type OpenShard, openShard } from './open-shard.ts'
import type { GatheredPart } from './select-parts.ts'
import type { ShardMemory } from './shard-memory.ts'

/** Gathers parts of a checkpoint that is open. */
export async function gatherFromMemory(
  label: string,
  memory: readonly ShardMemory[],
  parts: readonly GatheredPart[],
  options: GatherOptions,
): Promise<Arena> {
  if (memory[0] instanceof FileMapping) {
    const sourceOf = ({ shard, begin, end }: GatheredPart) => {
      const mapping = memory[shard] as FileMapping
      const { descriptor, path, byteLength } = mapping
      return {
        descriptor,
        path,
        byteLength,
        dropBehind: mapping.backing === 'file' && !isMostlyCached(mapping, begin, end),
      }
    }
    return gatherArena(label, parts, sourceOf, options)
  }
  let doneBytes = 0
  return gatherHeapArena(label, parts, ({ shard, begin, end, slice }, target) => {
    gatherSelected((memory[shard] as HeapCopy).buffer(begin, end), slice, target)
    doneBytes += slice.byteLength
    options.onProgress?.(doneBytes)
  })
}

/** Pages that were in RAM before stay there: whoever brought them in, or the next who selects, has use for them. */
function isMostlyCached(mapping: FileMapping, begin: number, end: number): boolean {
  const resident = residentBytes(mapping, { begin, end })
  return resident === null || resident * 2 >= end - begin
}

/**
 * Gathers parts of a checkpoint that is being opened, whose bytes are nowhere in memory yet.
 * @throws CheckpointError CHECKPOINT_CHANGED when a file was written to meanwhile
 */
export async function gatherFromFiles(
  label: string,
  shards: readonly OpenShard[],
  parts: readonly GatheredPart[],
  options: GatherOptions,
): Promise<Arena> {
  const files = new Map<OpenShard, Descriptor>()
  try {
    for (const { shard } of parts) {
      const needed = shards[shard]!
      if (!files.has(needed)) files.set(needed, openShard(needed))
    }
    const sourceOf = ({ shard }: GatheredPart) => {
      const { path, byteLength } = shards[shard]!
      return { descriptor: files.get(shards[shard]!)!, path, byteLength, dropBehind: true }
    }
    const arena = await gatherArena(label, parts, sourceOf, options)
    try {
      for (const [shard, file] of files) assertUnchanged(shard, file)
    } catch (error) {
      arena.memory.close()
      throw error
    }
    return arena
  } finally {
    closeDescriptors(files.values())
  }
}

/** The runs that parts are made of, for a heap copy that holds nothing else. */
export function runsOfParts(parts: readonly GatheredPart[]): { shard: number; begin: number; end: number }[] {
  return parts.flatMap(({ shard, begin, slice }) => {
    const runs: { shard: number; begin: number; end: number }[] = []
    forEachCopy(slice, (from, _, length) => runs.push({ shard, begin: begin + from, end: begin + from + length }))
    return runs
  })
}

/** Gathers parts from heap copies of exactly their runs. */
export function gatherFromRuns(label: string, copies: readonly HeapCopy[], parts: readonly GatheredPart[]): Arena {
  return gatherHeapArena(label, parts, ({ shard, begin, slice }, target) => {
    forEachCopy(slice, (from, to, length) => {
      target.set(new Uint8Array(copies[shard]!.buffer(begin + from, begin + from + length)), to)
    })
  })
}
