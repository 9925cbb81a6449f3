import { fstatSync } from 'node:fs'
import { CoordinatorError, type Granted } from '@onecopy/protocol'
import { type Descriptor, isSealed } from '@onecopy/sharedarraybuffer-utils/descriptors'

/**
 * Sees to it that what came with a lease is what the coordinator said: regular files or memory of the right size, and
 * memory that nobody can change where it promised sealed memory. Nothing is mapped before.
 * @throws CoordinatorError RECEIVED_INVALID
 */
export function checkReceived(granted: Granted, descriptors: readonly Descriptor[]): void {
  const refuse = (reason: string): never => {
    const message = `What the coordinator sent for checkpoint "${granted.checkpoint}" is not used: ${reason}`
    throw new CoordinatorError('RECEIVED_INVALID', message, { checkpoint: granted.checkpoint })
  }
  if (!isSealed(descriptors[0]!)) refuse('its directory is not sealed memory')
  for (const [at, { name, byteLength }] of [...granted.shards, ...granted.arenas].entries()) {
    const descriptor = descriptors[at + 1]!
    const isArena = at >= granted.shards.length
    const subject = `${isArena ? 'its' : 'shard'} "${name}"`
    const found = fstatSync(descriptor.number)
    if (!found.isFile()) refuse(`${subject} is not a file`)
    if (found.size !== byteLength) refuse(`${subject} has ${found.size} bytes; it must have ${byteLength}`)
    if ((isArena || granted.backing === 'sealed') && !isSealed(descriptor)) refuse(`${subject} is not sealed memory`)
  }
}
