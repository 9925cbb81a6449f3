import { dirname, join } from 'node:path'
import { buildDirectory } from './build-directory.ts'
import { crossCheck } from './cross-check.ts'
import { Directory } from './directory.ts'
import type { LocatedFiles } from './locate-files.ts'
import { closeShards } from './open-shard.ts'
import { readHeaders } from './read-headers.ts'
import { type IndexFile, readIndexFile } from './read-index.ts'
import type { ReadFiles } from './read-quickly.ts'

/**
 * Reads a checkpoint by the strict parsers: all there is to say about a file that is unusual or wrong is said here.
 * @throws CheckpointError INDEX_UNREADABLE, SHARD_NOT_FOUND, SHARD_UNREADABLE, and those of `crossCheck`
 * @throws SafetensorsError with `path`, for the content of a file
 */
export async function readStrictly(files: LocatedFiles, signal?: AbortSignal): Promise<ReadFiles> {
  const index = 'indexPath' in files ? await readIndexFile(files.indexPath) : null
  const shards = await readHeaders('shardPaths' in files ? files.shardPaths : shardPathsOf(index!), signal)
  try {
    crossCheck(index?.content ?? null, shards, files.label)
    return { directory: new Directory(buildDirectory(shards)), shards, index }
  } catch (error) {
    closeShards(shards)
    throw error
  }
}

function shardPathsOf({ path, content }: IndexFile): string[] {
  // The names were checked to be plain file names, so none of these leaves the folder of the index.
  return content.shardNames.map((name) => join(dirname(path), name))
}
