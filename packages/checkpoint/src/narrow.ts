import { type IndexedTensor, quoteName, type TensorInfo } from '@onecopy/safetensors'
import { FileMapping } from '@onecopy/sharedarraybuffer-utils'
import { type Arena, holdsPart } from './arena.ts'
import { buildDirectory, type DirectorySource } from './build-directory.ts'
import { Directory, type ShardInfo } from './directory.ts'
import { CheckpointError } from './errors.ts'
import { groupBy } from './group-by.ts'
import type { SelectedParts } from './select-parts.ts'
import type { ShardMemory } from './shard-memory.ts'

/** A checkpoint's insides, restricted to a selection. */
export interface Narrowed {
  readonly directory: Directory
  /** In the order of the directory's shards: those that are read in place, then the arenas. The caller's to close. */
  readonly memory: readonly ShardMemory[]
  /** The directory's records in the order of the selection. */
  readonly order: Uint32Array
}

type Placed = Pick<IndexedTensor, 'name' | 'dtype' | 'shape' | 'begin' | 'end'>

/**
 * Restricts a checkpoint to selected parts: a directory with the parts as its tensors, over the shards they are in and the
 * arenas they were gathered into.
 * @param takeShard gives a shard's memory, for the narrowed checkpoint to own
 * @param takeArena likewise
 * @throws CheckpointError PART_MISSING when no arena has a gathered part
 */
export function narrow(
  shards: readonly ShardInfo[],
  { inPlace, gathered, names }: SelectedParts,
  arenas: readonly Arena[],
  takeShard: (shard: number) => ShardMemory,
  takeArena: (arena: Arena) => ShardMemory,
): Narrowed {
  const byShard = groupBy(inPlace, ({ shard }) => shard)
  const byArena = groupBy(gathered, (part) => {
    const arena = arenas.find((candidate) => holdsPart(candidate, part))
    if (arena !== undefined) return arena
    const message = `No arena that came with the checkpoint has the selected part of tensor ${quoteName(part.name)}`
    throw new CheckpointError('PART_MISSING', message, { tensor: part.name })
  })
  const memory: ShardMemory[] = []
  const sources: DirectorySource[] = []
  try {
    for (const [shard, parts] of [...byShard].sort(([a], [b]) => a - b)) {
      memory.push(takeShard(shard))
      sources.push(sourceOf(shards[shard]!, parts))
    }
    for (const [number, [arena, parts]] of [...byArena].entries()) {
      memory.push(takeArena(arena))
      const { byteLength, dataOffset, header } = arena
      const placed = parts.map(({ name, key, dtype, slice }) => {
        const [begin, end] = header.tensors.get(key)!.dataOffsets
        return { name, dtype, shape: slice.shape, begin: dataOffset + begin, end: dataOffset + end }
      })
      sources.push(sourceOf({ name: `arena ${number + 1}`, path: '', byteLength, dataOffset, metadata: null }, placed))
    }
    const directory = new Directory(buildDirectory(sources))
    // For the report of a stray write; shards that have been described keep their own tables.
    for (const [shard, mapping] of memory.entries()) {
      if (mapping instanceof FileMapping) mapping.describe(directory.partTable(shard))
    }
    return { directory, memory, order: Uint32Array.from(names, (name) => directory.find(name)) }
  } catch (error) {
    for (const shard of memory) shard.close()
    throw error
  }
}

type Shard = Pick<ShardInfo, 'name' | 'path' | 'byteLength' | 'dataOffset' | 'metadata'> & Partial<ShardInfo>

/** A shard as if only these tensors were in it. */
function sourceOf(shard: Shard, parts: readonly Placed[]): DirectorySource {
  const { dataOffset, metadata, ...rest } = shard
  const inOrder = parts.toSorted((a, b) => a.begin - b.begin || a.end - b.end)
  const tensors = new Map(
    inOrder.map(({ name, dtype, shape, begin, end }): [string, TensorInfo] => {
      return [name, { dtype, shape, dataOffsets: [begin - dataOffset, end - dataOffset] }]
    }),
  )
  return { ...rest, dataOffset, header: { tensors, metadata } }
}
