import { createHash } from 'node:crypto'
import type { ArenaHold } from '@onecopy/checkpoint'
import { CoordinatorError } from '@onecopy/protocol'
import { type Descriptor, type FileMapping, isSealed, mapDescriptor } from '@onecopy/sharedarraybuffer-utils'
import { NO_ARENAS } from './gather-selection.ts'
import { adoptLoaded } from './load-version.ts'
import type { LoadedMemory, Version } from './version.ts'

/** Largest directory that is hashed while everybody else waits, in bytes: that of about two million tensors. */
const MAX_DIRECTORY_BYTES = 256 * 2 ** 20

/** What a client says of the memory that it hands back. */
export interface HandedBack {
  readonly checkpoint: string
  readonly fingerprint: string
  readonly label: string
  readonly shards: readonly { readonly name: string; readonly byteLength: number }[]
  readonly arenas: readonly { readonly name: string; readonly byteLength: number }[]
}

/**
 * Takes sealed memory from a client: after a coordinator died, its clients hold the only descriptors, and nothing has to
 * be read from disk again. A descriptor is mapped only after its type, seals and size were checked; the directory must
 * hash to the fingerprint, and it must describe shards of exactly these sizes. That the bytes of the shards are right
 * cannot be seen without reading them all: they are trusted because the client is a user whom the socket lets in.
 * @param descriptors the directory, then the shards; they stay the caller's
 * @throws CoordinatorError RESUME_REFUSED
 */
export function takeBack(offer: HandedBack, descriptors: readonly Descriptor[]): LoadedMemory {
  const refuse = (reason: string, cause?: unknown): never => refuseMemory(offer.checkpoint, reason, cause)
  if (descriptors.length !== offer.shards.length + 1) {
    refuse(`${descriptors.length} descriptors came, one directory and ${offer.shards.length} shards were named`)
  }
  if (!descriptors.every((descriptor) => isSealed(descriptor))) refuse('a descriptor is not sealed memory')
  const mapped: FileMapping[] = []
  try {
    const directory = mapDescriptor(descriptors[0]!, `directory of ${offer.label}`)
    mapped.push(directory)
    if (directory.byteLength > MAX_DIRECTORY_BYTES) refuse(`its directory has ${directory.byteLength} bytes`)
    const bytes = new Uint8Array(directory.buffer(0, directory.byteLength))
    if (createHash('sha256').update(bytes).digest('hex') !== offer.fingerprint)
      refuse('its directory has another fingerprint')
    for (const [at, { name, byteLength }] of offer.shards.entries()) {
      mapped.push(mapDescriptor(descriptors[at + 1]!, name, { expectedByteLength: byteLength }))
    }
    return adoptLoaded(offer.label, directory, mapped.slice(1))
  } catch (error) {
    for (const mapping of mapped) mapping.close()
    if (error instanceof CoordinatorError) throw error
    return refuse(error instanceof Error ? error.message : String(error), error)
  }
}

/**
 * Takes arenas from a client, for a version that is loaded; their headers are checked, their bytes trusted as those of shards
 * are. The same memory from several clients counts once.
 * @param descriptors of the arenas; they stay the caller's
 * @throws CoordinatorError RESUME_REFUSED
 */
export function takeArenasBack(version: Version, offer: HandedBack, descriptors: readonly Descriptor[]): ArenaHold {
  // The memory of a version may be given up while a client reads its files, which needs no memory of ours.
  if (descriptors.length === 0) return NO_ARENAS
  const mapped: FileMapping[] = []
  try {
    if (!descriptors.every((descriptor) => isSealed(descriptor))) throw new TypeError('an arena is not sealed memory')
    const seen = new Set<number>()
    for (const [at, { name, byteLength }] of offer.arenas.entries()) {
      const mapping = mapDescriptor(descriptors[at]!, name, { expectedByteLength: byteLength })
      // The same memory named twice would count twice.
      if (seen.has(mapping.id)) mapping.close()
      else mapped.push(mapping)
      seen.add(mapping.id)
    }
    return version.memory!.checkpoint.adoptArenas(mapped)
  } catch (error) {
    for (const mapping of mapped) mapping.close()
    return refuseMemory(offer.checkpoint, error instanceof Error ? error.message : String(error), error)
  }
}

function refuseMemory(checkpoint: string, reason: string, cause?: unknown): never {
  const message = `Memory of checkpoint "${checkpoint}" is not taken back: ${reason}`
  throw new CoordinatorError('RESUME_REFUSED', message, { checkpoint, cause })
}
