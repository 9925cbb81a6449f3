// A task that hashes one tensor of the pool's checkpoint.
import { createHash } from 'node:crypto'
import { threadId } from 'node:worker_threads'
import { weights } from 'onecopy/worker'

export default function hashTensor(name) {
  const { dtype, shape, data } = weights().tensor(name)
  return { dtype, shape, threadId, sha256: createHash('sha256').update(data).digest('hex') }
}
