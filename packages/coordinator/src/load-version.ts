import { Checkpoint, openCheckpoint } from '@onecopy/checkpoint'
import { MAX_SHARDS } from '@onecopy/protocol'
import { sealBytes } from '@onecopy/sharedarraybuffer-utils'
import type { LoadedMemory } from './version.ts'

/** Where the bytes of a published checkpoint live: in the page cache, or in sealed memory. */
export type PublishedBacking = 'file' | 'sealed'

/** How the versions of a name are loaded. */
export interface LoadSettings {
  readonly source: string | readonly string[]
  readonly backing: PublishedBacking
  readonly pinned: boolean
  readonly priority: number
}

/** What is known of a source from its headers alone. */
export interface Inspected {
  readonly fingerprint: string
  readonly byteLength: number // of all shard files
}

/**
 * Opens and validates a source without reading a tensor.
 * @throws CheckpointError and others; RangeError for more shards than a message to a client can have
 */
export async function inspectSource(source: string | readonly string[], signal: AbortSignal): Promise<Inspected> {
  using checkpoint = await openCheckpoint(source, { backing: 'file', signal })
  const { length } = checkpoint.shards
  if (length > MAX_SHARDS) throw new RangeError(`it has ${length} shards; at most ${MAX_SHARDS} can be handed out`)
  const byteLength = checkpoint.shards.reduce((sum, shard) => sum + shard.byteLength, 0)
  return { fingerprint: await checkpoint.computeFingerprint(), byteLength }
}

/**
 * Opens a source and gets it ready to be handed out.
 * @param lock keeps the pages of `file` backing in RAM
 */
export async function loadSource(
  source: string | readonly string[],
  backing: PublishedBacking,
  lock: boolean,
  signal: AbortSignal,
): Promise<LoadedMemory> {
  const residency = lock && backing === 'file' ? 'lock' : 'lazy'
  const checkpoint = await openCheckpoint(source, { backing, residency, signal })
  try {
    // Open from here on: what is handed out is what was mapped, whatever becomes of the files.
    checkpoint.descriptors()
    await checkpoint.computeFingerprint() // which whoever compares versions asks for on the loop
    return {
      checkpoint,
      directory: sealBytes(new Uint8Array(checkpoint.directory), `directory of ${checkpoint.label}`),
    }
  } catch (error) {
    checkpoint.close()
    throw error
  }
}

/** Memory that a client handed back, see hand-back.ts, as if it had been loaded here. */
export function adoptLoaded(
  label: string,
  directory: LoadedMemory['directory'],
  shards: readonly LoadedMemory['directory'][],
): LoadedMemory {
  return { checkpoint: Checkpoint.adoptMappings(label, directory, shards), directory }
}
