import { parseHeader, parseShardIndex, type ShardIndex, withPath } from '@onecopy/safetensors'
import { buildDirectory } from './build-directory.ts'
import { crossCheck } from './cross-check.ts'
import { CheckpointError } from './errors.ts'

/** More are not opened: no kernel maps as many files at a time (vm.max_map_count, 65,530). */
export const MAX_SHARDS = 65_000

/** The text of an index that was read. */
export interface IndexText {
  readonly path: string
  readonly json: Uint8Array
}

/** A shard whose header's text was read. */
export interface HeaderText {
  readonly name: string
  readonly path: string
  readonly byteLength: number // of the shard file
  readonly dataOffset: number // first byte behind the header
  readonly inode: bigint
  readonly modifiedNs: bigint // since the epoch
  readonly json: Uint8Array
}

/** The strict parsers and the checks of what they give: everything that takes long with a huge or hostile file. */
export class StrictParser {
  #index: ShardIndex | null = null

  /**
   * The names of the shards, checked to be plain file names, in the order in which the index first names them.
   * @throws SafetensorsError with `path`; CheckpointError CHECKPOINT_TOO_LARGE
   */
  readIndex({ path, json }: IndexText): readonly string[] {
    try {
      this.#index = parseShardIndex(json)
    } catch (error) {
      throw withPath(error, path)
    }
    const { shardNames } = this.#index
    requireFewShards(shardNames.length, path)
    return shardNames
  }

  /**
   * The directory of shards that were read.
   * @param index null where they came without one; parsed unless `readIndex` was called before
   * @throws SafetensorsError with `path`, for the first header that is refused, and those of `crossCheck`
   */
  layOut(index: IndexText | null, headers: readonly HeaderText[], label: string): SharedArrayBuffer {
    if (index !== null && this.#index === null) this.readIndex(index)
    const shards = headers.map(({ json, ...shard }) => {
      try {
        return { ...shard, header: parseHeader(json, shard.byteLength - shard.dataOffset) }
      } catch (error) {
        throw withPath(error, shard.path)
      }
    })
    crossCheck(this.#index, shards, label)
    return buildDirectory(shards)
  }
}

/** @throws CheckpointError CHECKPOINT_TOO_LARGE */
export function requireFewShards(count: number, path: string): void {
  if (count <= MAX_SHARDS) return
  const message = `"${path}" names ${count} shards; at most ${MAX_SHARDS} are opened`
  throw new CheckpointError('CHECKPOINT_TOO_LARGE', message, { path })
}
