import { createHash } from 'node:crypto'
import { CoordinatorError } from '@onecopy/protocol'
import { type FileMapping, isSealed, mapDescriptor } from '@onecopy/sharedarraybuffer-utils'
import { adoptLoaded } from './load-version.ts'
import type { LoadedMemory } from './version.ts'

/** Largest directory that is hashed while everybody else waits, in bytes: that of about two million tensors. */
const MAX_DIRECTORY_BYTES = 256 * 2 ** 20

/** What a client says of the memory that it hands back. */
export interface HandedBack {
  readonly checkpoint: string
  readonly fingerprint: string
  readonly label: string
  readonly shards: readonly { readonly name: string; readonly byteLength: number }[]
}

/**
 * Takes sealed memory from a client: after a coordinator died, its clients hold the only descriptors, and nothing has to
 * be read from disk again. A descriptor is mapped only after its type, seals and size were checked; the directory must
 * hash to the fingerprint, and it must describe shards of exactly these sizes. That the bytes of the shards are right
 * cannot be seen without reading them all: they are trusted because the client is a user whom the socket lets in.
 * @param descriptors the directory, then the shards; they stay the caller's
 * @throws CoordinatorError RESUME_REFUSED
 */
export function takeBack(offer: HandedBack, descriptors: readonly number[]): LoadedMemory {
  const refuse = (reason: string, cause?: unknown): never => {
    const message = `Memory of checkpoint "${offer.checkpoint}" is not taken back: ${reason}`
    throw new CoordinatorError('RESUME_REFUSED', message, { checkpoint: offer.checkpoint, cause })
  }
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
