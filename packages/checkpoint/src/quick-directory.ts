import type { FlatIndex } from '@onecopy/safetensors'
import { buildDirectory, type DirectorySource } from './build-directory.ts'
import { Directory } from './directory.ts'
import { CheckpointError } from './errors.ts'
import { columnsOf, type OpenShard } from './read-headers.ts'

/**
 * The directory of shards whose headers, and whose index, were all read the quick way, when every tensor stands where the
 * index says and nowhere else.
 * @param index null where the shards came without one
 * @returns null whenever that cannot be said; `crossCheck` then finds out what is wrong, if anything is
 */
export function quickDirectory(shards: readonly OpenShard[], index: FlatIndex | null): Directory | null {
  let directory: Directory
  try {
    directory = new Directory(buildDirectory(shards.map(sourceOf)))
  } catch (error) {
    if (error instanceof CheckpointError) return null
    throw error
  }
  return index === null || agrees(directory, shards, index) ? directory : null
}

/** Field by field: a copy of the whole would read `header`, and with it parse what has been read already. */
function sourceOf(shard: OpenShard): DirectorySource {
  const { name, path, byteLength, dataOffset, inode, modifiedNs } = shard
  return { name, path, byteLength, dataOffset, inode, modifiedNs, header: columnsOf(shard) }
}

function agrees(directory: Directory, shards: readonly OpenShard[], index: FlatIndex): boolean {
  if (index.count !== directory.tensorCount) return false
  const numbers = new Map(shards.map(({ name }, shard) => [name, shard]))
  const shardOf = index.shardNames.map((name) => numbers.get(name))
  const seen = new Uint8Array(directory.tensorCount)
  let begin = 0
  for (let entry = 0; entry < index.count; entry++) {
    const end = index.nameEnds[entry]!
    const record = directory.findBytes(index.names, begin, end)
    // A name that stands twice in the index hides one that is missing there.
    if (record < 0 || seen[record] === 1 || directory.shardOf(record) !== shardOf[index.shards[entry]!]) return false
    seen[record] = 1
    begin = end
  }
  return true
}
