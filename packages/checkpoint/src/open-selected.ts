import type { Selection } from '@onecopy/safetensors'
import type { ByteRange, HeapCopy } from '@onecopy/sharedarraybuffer-utils'
import type { Arena } from './arena.ts'
import { Checkpoint } from './checkpoint.ts'
import type { Directory } from './directory.ts'
import { gatherFromFiles, gatherFromRuns, runsOfParts } from './gather-parts.ts'
import { groupBy } from './group-by.ts'
import { narrow } from './narrow.ts'
import type { OpenShard } from './open-shard.ts'
import { type GatheredPart, type InPlacePart, selectParts } from './select-parts.ts'
import { type RangesOf, type ReadOptions, type ShardMemory, takeMemory } from './shard-memory.ts'

/** What the parts are taken into, and how. */
type PartOptions = ReadOptions & { readonly backing: 'sealed' | 'heap' }

/**
 * Takes into sealed or heap memory only what a selection names; the shards stay the caller's.
 * @param directory of all shards
 */
export async function openSelected(
  label: string,
  directory: Directory,
  shards: readonly OpenShard[],
  selection: Selection,
  options: PartOptions,
): Promise<Checkpoint> {
  const parts = selectParts(directory, selection, label)
  const { inPlace, gathered } = parts
  const totalBytes = bytesOf(inPlace) + gathered.reduce((sum, { slice }) => sum + slice.byteLength, 0)
  const memory = await takeParts(shards, inPlace, { ...options, ...progressFrom(0, totalBytes, options) })
  const taken = [...memory.values()]
  const arenas: Arena[] = []
  try {
    if (gathered.length > 0) {
      const rest = { ...options, ...progressFrom(bytesOf(inPlace), totalBytes, options) }
      arenas.push(await gather(label, shards, gathered, rest))
      taken.push(arenas[0]!.memory)
    }
    const inside = narrow(
      directory.shards,
      parts,
      arenas,
      (shard) => memory.get(shard)!,
      (arena) => arena.memory,
    )
    return new Checkpoint(label, inside.directory, inside.memory, null, inside.order)
  } catch (error) {
    for (const shard of taken) shard.close()
    throw error
  }
}

/** The memory of each shard that is needed, by its number. */
async function takeParts(
  shards: readonly OpenShard[],
  parts: readonly (InPlacePart | (ByteRange & { readonly shard: number }))[],
  options: PartOptions,
): Promise<Map<number, ShardMemory>> {
  const ranges = groupBy(parts, ({ shard }) => shard)
  const numbers = [...ranges.keys()].sort((a, b) => a - b)
  const needed = numbers.map((shard) => shards[shard]!)
  const rangesOf: RangesOf = (shard) => ranges.get(shards.indexOf(shard))!
  const memory = await takeMemory(needed, { ...options, rangesOf })
  return new Map(numbers.map((shard, at) => [shard, memory[at]!]))
}

async function gather(
  label: string,
  shards: readonly OpenShard[],
  parts: readonly GatheredPart[],
  options: PartOptions,
): Promise<Arena> {
  const { backing, signal, onProgress } = options
  if (backing === 'sealed') {
    const totalBytes = parts.reduce((sum, { slice }) => sum + slice.byteLength, 0)
    const hooks = {
      ...(signal && { signal }),
      ...(onProgress && { onProgress: (doneBytes: number) => onProgress({ doneBytes, totalBytes }) }),
    }
    return gatherFromFiles(label, shards, parts, hooks)
  }
  const copies = await takeParts(shards, runsOfParts(parts), options)
  try {
    const byNumber = shards.map((_, shard) => copies.get(shard) as HeapCopy)
    return gatherFromRuns(label, byNumber, parts)
  } finally {
    for (const copy of copies.values()) copy.close()
  }
}

function bytesOf(parts: readonly ByteRange[]): number {
  return parts.reduce((sum, { begin, end }) => sum + end - begin, 0)
}

/** Reports what one stage has done as a part of the whole. */
function progressFrom(
  before: number,
  totalBytes: number,
  { onProgress }: ReadOptions,
): Pick<ReadOptions, 'onProgress'> {
  return onProgress ? { onProgress: ({ doneBytes }) => onProgress({ doneBytes: before + doneBytes, totalBytes }) } : {}
}
