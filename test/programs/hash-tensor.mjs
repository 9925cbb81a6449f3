// A task that hashes one tensor of the pool's checkpoint.
import { createHash } from 'node:crypto'
import { threadId } from 'node:worker_threads'
import { weights } from 'onecopy/worker'

/** @param {string} name */
export default function hashTensor(name) {
  const { dtype, shape, buffer } = weights().tensor(name)
  return { dtype, shape, threadId, sha256: createHash('sha256').update(new Uint8Array(buffer)).digest('hex') }
}
