// A task that reads one byte of every page of every tensor, so that the whole checkpoint stands in the page tables.
import { threadId, workerData } from 'node:worker_threads'
import { weights } from 'onecopy/worker'

const PAGE_BYTES = 4096

/**
 * Waits until every thread has come here, so that none of them does the work of two.
 * @param {number} place
 */
function meet(place) {
  const arrived = new Int32Array(workerData.arrived)
  Atomics.add(arrived, place, 1)
  Atomics.notify(arrived, place)
  for (let count = 0; count < workerData.threads; count = Atomics.load(arrived, place)) {
    Atomics.wait(arrived, place, count, 100)
  }
}

export function start() {
  meet(0)
}

export default function touchEverything() {
  meet(1)
  let sum = 0
  for (const { buffer } of weights().tensors()) {
    const bytes = new Uint8Array(buffer)
    for (let at = 0; at < bytes.length; at += PAGE_BYTES) sum += bytes[at] ?? 0
  }
  return { threadId, sum }
}
