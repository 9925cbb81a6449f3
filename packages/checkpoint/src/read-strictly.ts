import { dirname, join } from 'node:path'
import { Directory } from './directory.ts'
import type { LocatedFiles } from './locate-files.ts'
import { closeShards } from './open-shard.ts'
import { readHeaders } from './read-headers.ts'
import { readIndexFile } from './read-index.ts'
import type { ReadFiles } from './read-quickly.ts'
import { requireFewShards } from './strict-parser.ts'
import { StrictParsing } from './strict-parsing.ts'

/**
 * Reads a checkpoint by the strict parsers: all there is to say about a file that is unusual or wrong is said here. What
 * cannot be read is told before what is refused by its content.
 * @throws CheckpointError INDEX_UNREADABLE, CHECKPOINT_TOO_LARGE, those of `readHeaders` and of `crossCheck`
 * @throws SafetensorsError with `path`, for the content of a file; the signal's reason
 */
export async function readStrictly(files: LocatedFiles, signal?: AbortSignal): Promise<ReadFiles> {
  using parsing = new StrictParsing(signal)
  const index = 'indexPath' in files ? await readIndexFile(files.indexPath, signal) : null
  const shards = await readHeaders(shardPathsOf(files, index && (await parsing.readIndex(index))), signal)
  try {
    const texts = shards.map(({ descriptor: _, ...text }) => text)
    const table = await parsing.layOut(index, texts, files.label)
    return { directory: new Directory(table), shards, index }
  } catch (error) {
    closeShards(shards)
    throw error
  }
}

function shardPathsOf(files: LocatedFiles, shardNames: readonly string[] | null): readonly string[] {
  if ('shardPaths' in files) {
    requireFewShards(files.shardPaths.length, files.label)
    return files.shardPaths
  }
  // The names were checked to be plain file names, so none of these leaves the folder of the index.
  return shardNames!.map((name) => join(dirname(files.indexPath), name))
}
