// @ts-check
// A task that reads one byte of every page of every tensor, and the same over plain memory.
import { workerData } from 'node:worker_threads'
import { weights } from 'onecopy/worker'

const PAGE_BYTES = 4096

/** Waits until every thread of the pool has come here, so that none of them does the work of two. */
function meet() {
  const arrived = new Int32Array(workerData.arrived)
  Atomics.add(arrived, 0, 1)
  Atomics.notify(arrived, 0)
  for (let count = 0; count < workerData.threads; count = Atomics.load(arrived, 0)) Atomics.wait(arrived, 0, count, 100)
}

export default function touchInPool() {
  meet()
  return touchTensors(weights())
}

/** @param {import('onecopy').Checkpoint} checkpoint */
export function touchTensors(checkpoint) {
  let sum = 0
  for (const { buffer } of checkpoint.tensors()) sum += touch(new Uint8Array(buffer))
  return sum
}

/** @param {Uint8Array} bytes */
function touch(bytes) {
  let sum = 0
  for (let at = 0; at < bytes.length; at += PAGE_BYTES) sum += bytes[at] ?? 0
  return sum
}
