import { DTYPES, MAX_HEADER_BYTES, MAX_INDEX_BYTES } from '@onecopy/safetensors'
import { type FormatFacts, readQuickly as readTable } from '@onecopy/sharedarraybuffer-utils'
import { Directory } from './directory.ts'
import type { LocatedFiles } from './locate-files.ts'
import type { OpenShard } from './open-shard.ts'
import { MAX_HEADERS_BYTES } from './read-headers.ts'
import type { IndexState } from './read-index.ts'
import { MAX_SHARDS } from './strict-parser.ts'

/** A checkpoint's files, read and checked against each other; none of them is mapped yet. */
export interface ReadFiles {
  readonly directory: Directory
  readonly shards: readonly OpenShard[]
  readonly index: IndexState | null
}

const FORMAT: FormatFacts = {
  dtypeBits: DTYPES,
  maxHeaderBytes: MAX_HEADER_BYTES,
  maxHeadersBytes: MAX_HEADERS_BYTES,
  maxIndexBytes: MAX_INDEX_BYTES,
  maxShards: MAX_SHARDS,
}

/**
 * Reads a checkpoint whose files are written as serializers write them, which is nearly every one, in compiled code.
 * @returns null for whatever is unusual or wrong, and without the addon: `readStrictly` tells what it is
 * @throws the signal's reason
 */
export async function readQuickly(files: LocatedFiles, signal?: AbortSignal): Promise<ReadFiles | null> {
  const read = await readTable(files, FORMAT, signal)
  if (read === null) return null
  const directory = new Directory(read.table)
  return {
    directory,
    shards: directory.shards.map(({ name, path, byteLength, inode, modifiedNs, dataOffset }, at) => {
      const descriptor = read.descriptors?.[at] ?? null
      return { name, path, byteLength, inode, modifiedNs, dataOffset, descriptor }
    }),
    index: 'indexPath' in files && read.index !== null ? { path: files.indexPath, ...read.index } : null,
  }
}
