import type { ArenaHold } from '@onecopy/checkpoint'
import { CoordinatorError } from '@onecopy/protocol'
import { type Descriptor, type FileMapping, mapDescriptor } from '@onecopy/sharedarraybuffer-utils'
import { NO_ARENAS } from './gather-selection.ts'
import type { Ledger } from './ledger.ts'
import { byteLengthOf, type LedgerRecord, shardBytes } from './ledger-records.ts'
import { adoptLoaded } from './load-version.ts'
import type { Registry } from './registry.ts'
import type { LoadedMemory, Version } from './version.ts'

/** What a client says of the memory that it hands back; everything else is in the ledger. */
export interface HandedBack {
  readonly checkpoint: string
  readonly fingerprint: string
}

/**
 * Takes sealed memory from a client: after a coordinator ended, its clients hold the only descriptors, and nothing has to be
 * read from disk again. It must be memory that the ledger knows under this name; then it is what it was, under the label and
 * number that it had. Memory that is here already is not taken twice.
 * @param descriptors the directory, then the shards; they stay the caller's
 * @returns the version that has this memory now
 * @throws CoordinatorError RESUME_REFUSED, COORDINATOR_CLOSING
 */
export function takeBack(
  registry: Registry,
  ledger: Ledger,
  offer: HandedBack,
  descriptors: readonly Descriptor[],
): Version {
  const record = ledger.recognise(offer, descriptors)
  const memory = mapMemory(record, descriptors)
  try {
    const known = registry.findMemory(record.checkpoint, memory.directory)
    if (known === undefined) return registry.recover(record, memory, shardBytes(record))
    closeMemory(memory)
    return known
  } catch (error) {
    closeMemory(memory)
    throw error
  }
}

/**
 * Takes arenas from a client, for a version that is loaded. The same memory from several clients counts once.
 * @param descriptors of the arenas; they stay the caller's
 * @throws CoordinatorError RESUME_REFUSED
 */
export function takeArenasBack(
  version: Version,
  ledger: Ledger,
  offer: HandedBack,
  descriptors: readonly Descriptor[],
): ArenaHold {
  // The memory of a version may be given up while a client reads its files, which needs no memory of ours.
  if (descriptors.length === 0 || version.memory === null) return NO_ARENAS
  ledger.recogniseArenas(offer, descriptors)
  const mapped: FileMapping[] = []
  try {
    const seen = new Set<number>()
    for (const descriptor of descriptors) {
      const mapping = mapDescriptor(descriptor, `arena of ${version.memory.checkpoint.label}`)
      // The same memory named twice would count twice.
      if (seen.has(mapping.id)) mapping.close()
      else mapped.push(mapping)
      seen.add(mapping.id)
    }
    return version.memory.checkpoint.adoptArenas(mapped)
  } catch (cause) {
    for (const mapping of mapped) mapping.close()
    return refuse(offer.checkpoint, cause)
  }
}

function mapMemory(record: LedgerRecord, descriptors: readonly Descriptor[]): LoadedMemory {
  const mapped: FileMapping[] = []
  try {
    for (const [at, descriptor] of descriptors.entries()) {
      const path = at === 0 ? `directory of ${record.label}` : record.shards[at - 1]!
      mapped.push(mapDescriptor(descriptor, path, { expectedByteLength: byteLengthOf(record.memory[at]!) }))
    }
    return adoptLoaded(record.label, mapped[0]!, mapped.slice(1))
  } catch (cause) {
    for (const mapping of mapped) mapping.close()
    return refuse(record.checkpoint, cause)
  }
}

function closeMemory({ checkpoint, directory }: LoadedMemory): void {
  directory.close()
  checkpoint.close()
}

function refuse(checkpoint: string, cause: unknown): never {
  const reason = cause instanceof Error ? cause.message : String(cause)
  const message = `Memory of checkpoint "${checkpoint}" is not taken back: ${reason}`
  throw new CoordinatorError('RESUME_REFUSED', message, { checkpoint, cause })
}
