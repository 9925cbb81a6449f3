// Tasks of the tests of pools with a plan; runs in the threads, so it is plain JavaScript on the built packages.
import { createHash } from 'node:crypto'
import { threadId, workerData } from 'node:worker_threads'
import { place, weights } from '@onecopy/client/worker'

/** What this thread reads and where it stands. */
export default function describe() {
  /** @param {import('@onecopy/checkpoint').TensorView} view */
  const hash = ({ name, buffer }) => [name, createHash('sha256').update(new Uint8Array(buffer)).digest('hex')]
  const hashes = Object.fromEntries([...weights().tensors()].map(hash))
  return { threadId, place: place(), hashes, userData: workerData['user'] ?? null }
}

/** @param {unknown} task */
export function echo(task) {
  return [place()?.name, task]
}

/** @param {string} name */
export function first(name) {
  return Math.floor(Number(weights().tensor(name).data[0]) / 1000)
}

/** @param {{ gate: Int32Array }} task */
export function firstAfterGate({ gate }) {
  Atomics.add(gate, 0, 1)
  while (Atomics.load(gate, 1) === 0) Atomics.wait(gate, 1, 0, 100)
  return first('down')
}

export function crash() {
  process.exit(7)
}
