// Tasks over the pool's checkpoint: one tensor's checksum, or those of all tensors in every thread at once.
import { threadId, workerData } from 'node:worker_threads'
import { weights } from '@onecopy/client/worker'
import { checksum } from './checksum.mjs'

/** @param {string} name */
export default function checksumTensor(name) {
  return checksum(weights().tensor(name))
}

/** Waits until every thread has come here, so that none of them does the work of two. */
export function checksumTensors() {
  const arrived = new Int32Array(workerData.arrived)
  Atomics.add(arrived, 0, 1)
  Atomics.notify(arrived, 0)
  for (let count = 0; count < workerData.threads; count = Atomics.load(arrived, 0)) Atomics.wait(arrived, 0, count, 100)
  const checksums = Object.fromEntries([...weights().tensors()].map((view) => [view.name, checksum(view)]))
  return { threadId, checksums }
}
