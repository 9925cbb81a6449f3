import { addon } from './addon.ts'

/** A checkpoint's files: the shard index, or the shards themselves. Absolute paths. */
export type QuickReadSource = { readonly indexPath: string } | { readonly shardPaths: readonly string[] }

/** What `readQuickly` has to be told of the format. */
export interface FormatFacts {
  /** Element types as headers name them, with their bits; a type's position is its number in the table. */
  readonly dtypeBits: Readonly<Record<string, number>>
  readonly maxHeaderBytes: number
  readonly maxIndexBytes: number
}

/** A checkpoint whose headers were read and checked, and agree with its index. */
export interface QuickRead {
  /** The directory, laid out as `@onecopy/checkpoint` does. */
  readonly table: SharedArrayBuffer
  /** Of the shards, in the order of the index or of the paths; the caller closes them. */
  readonly descriptors: readonly number[]
  /** Which state of the index was read; null where there is none. */
  readonly index: { readonly byteLength: number; readonly inode: bigint; readonly modifiedNs: bigint } | null
}

/**
 * Reads and checks the index and the headers of a checkpoint that are written as serializers write them, and lays the
 * table of its tensors out, all in one job of compiled code. It is here because the house has one addon.
 *
 * @returns null without the addon and for whatever is unusual or wrong, with nothing left open: reading the files in the
 * ordinary way then tells what it is
 */
export async function readQuickly(source: QuickReadSource, format: FormatFacts): Promise<QuickRead | null> {
  if (addon === null) return null
  const { dtypeBits, maxHeaderBytes, maxIndexBytes } = format
  const indexPath = 'indexPath' in source ? source.indexPath : null
  const shardPaths = 'shardPaths' in source ? source.shardPaths : []
  const dtypes = [Object.keys(dtypeBits), Object.values(dtypeBits)] as const
  return addon.readCheckpoint(indexPath, shardPaths, ...dtypes, maxHeaderBytes, maxIndexBytes)
}
