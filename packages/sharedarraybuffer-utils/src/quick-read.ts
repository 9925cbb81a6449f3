import { addon } from './addon.ts'
import { Descriptor } from './descriptor.ts'

/** A checkpoint's files: the shard index, or the shards themselves. Absolute paths. */
export type QuickReadSource = { readonly indexPath: string } | { readonly shardPaths: readonly string[] }

/** What `readQuickly` has to be told of the format. */
export interface FormatFacts {
  /** Element types as headers name them, with their bits; a type's position is its number in the table. */
  readonly dtypeBits: Readonly<Record<string, number>>
  readonly maxHeaderBytes: number
  /** Of all headers together. */
  readonly maxHeadersBytes: number
  readonly maxIndexBytes: number
  readonly maxShards: number
}

/** A checkpoint whose headers were read and checked, and agree with its index. */
export interface QuickRead {
  /** The directory, laid out as `@onecopy/checkpoint` does. */
  readonly table: SharedArrayBuffer
  /**
   * The shards' open files, in the order of the index or of the paths, which are the caller's to close; null where there are
   * so many that they were closed again.
   */
  readonly descriptors: readonly Descriptor[] | null
  /** Which state of the index was read; null where there is none. */
  readonly index: { readonly byteLength: number; readonly inode: bigint; readonly modifiedNs: bigint } | null
}

/** The same as native code gives it. */
export interface NativeQuickRead extends Omit<QuickRead, 'descriptors'> {
  readonly descriptors: readonly object[] | null
}

/**
 * Reads and checks the index and the headers of a checkpoint that are written as serializers write them, and lays the
 * table of its tensors out, all in one job of compiled code. It is here because the house has one addon.
 *
 * @returns null without the addon and for whatever is unusual or wrong, with nothing left open: reading the files in the
 * ordinary way then tells what it is
 * @throws the signal's reason
 */
export async function readQuickly(
  source: QuickReadSource,
  format: FormatFacts,
  signal?: AbortSignal,
): Promise<QuickRead | null> {
  if (addon === null) return null
  const { dtypeBits, maxHeaderBytes, maxHeadersBytes, maxIndexBytes, maxShards } = format
  const indexPath = 'indexPath' in source ? source.indexPath : null
  const shardPaths = 'shardPaths' in source ? source.shardPaths : []
  const dtypes = [Object.keys(dtypeBits), Object.values(dtypeBits)] as const
  const limits = [maxHeaderBytes, maxHeadersBytes, maxIndexBytes, maxShards]
  // Shared memory stays where it is, whatever the collector moves.
  const cancelled = new Int32Array(new SharedArrayBuffer(4))
  const cancel = (): void => void Atomics.store(cancelled, 0, 1)
  signal?.addEventListener('abort', cancel)
  if (signal?.aborted) cancel()
  try {
    const read = await addon.readCheckpoint(indexPath, shardPaths, ...dtypes, limits, cancelled)
    if (read === null) signal?.throwIfAborted()
    return read && { ...read, descriptors: read.descriptors?.map((file) => new Descriptor(file)) ?? null }
  } finally {
    signal?.removeEventListener('abort', cancel)
  }
}
