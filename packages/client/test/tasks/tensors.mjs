// Tasks of the pool tests; runs in the threads, so it is plain JavaScript on the built packages.
import { createHash } from 'node:crypto'
import { parentPort, threadId, workerData } from 'node:worker_threads'
import { weights } from '@onecopy/client/worker'

const readyBeforeTheFirstTask = weights().tensorCount

export default function hash(name) {
  return createHash('sha256').update(weights().tensor(name).data).digest('hex')
}

export function firstElement(name) {
  return weights().tensor(name).data[0]
}

export function secondElement(name) {
  return weights().tensor(name).data[1]
}

export function describe() {
  return { threadId, readyBeforeTheFirstTask, userData: workerData['user'] ?? null }
}

export function crash() {
  process.exit(7)
}

export function fail(message) {
  throw new RangeError(message)
}

export function postTensor(name) {
  return weights().tensor(name).data
}

export function speak(words) {
  parentPort?.postMessage(words)
}

export function wait() {
  return new Promise(() => {})
}

export function missing(name) {
  return weights().tensor(name)
}

/** Holds its thread until the pool's user wakes it, then tells which weights it had before and has after. */
export function waitForSignal({ gate }) {
  const before = weights().tensor('a').data[1]
  Atomics.add(gate, 0, 1)
  Atomics.notify(gate, 0)
  while (Atomics.load(gate, 1) === 0) Atomics.wait(gate, 1, 0, 1000)
  return { before, after: weights().tensor('a').data[1] }
}
