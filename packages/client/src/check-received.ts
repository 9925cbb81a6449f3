import { fstatSync } from 'node:fs'
import { CoordinatorError, type Granted } from '@onecopy/protocol'
import { isSealed } from '@onecopy/sharedarraybuffer-utils'

/**
 * Sees to it that what came with a lease is what the coordinator said: regular files or memory of the right size, and
 * memory that nobody can change where it promised sealed memory. Nothing is mapped before.
 * @throws CoordinatorError RECEIVED_INVALID
 */
export function checkReceived(granted: Granted, descriptors: readonly number[]): void {
  const refuse = (reason: string): never => {
    const message = `What the coordinator sent for checkpoint "${granted.checkpoint}" is not used: ${reason}`
    throw new CoordinatorError('RECEIVED_INVALID', message, { checkpoint: granted.checkpoint })
  }
  if (!isSealed(descriptors[0]!)) refuse('its directory is not sealed memory')
  for (const [at, { name, byteLength }] of granted.shards.entries()) {
    const descriptor = descriptors[at + 1]!
    const found = fstatSync(descriptor)
    if (!found.isFile()) refuse(`shard "${name}" is not a file`)
    if (found.size !== byteLength) refuse(`shard "${name}" has ${found.size} bytes; it must have ${byteLength}`)
    if (granted.backing === 'sealed' && !isSealed(descriptor)) refuse(`shard "${name}" is not sealed memory`)
  }
}
