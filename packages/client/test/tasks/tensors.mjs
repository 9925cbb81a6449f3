// Tasks of the pool tests; runs in the threads, so it is plain JavaScript on the built packages.
import { createHash } from 'node:crypto'
import { parentPort, threadId, workerData } from 'node:worker_threads'
import { weights } from '@onecopy/client/worker'

const readyBeforeTheFirstTask = weights().tensorCount

/** @param {string} name */
export default function hash(name) {
  return createHash('sha256')
    .update(new Uint8Array(weights().tensor(name).buffer))
    .digest('hex')
}

/** @param {string} name */
export function firstElement(name) {
  return weights().tensor(name).data[0]
}

/** @param {string} name */
export function secondElement(name) {
  return weights().tensor(name).data[1]
}

export function describe() {
  return { threadId, readyBeforeTheFirstTask, userData: workerData['user'] ?? null }
}

export function crash() {
  process.exit(7)
}

/** @returns {never} */
export function fillMemory() {
  const kept = []
  for (;;) kept.push(Array.from({ length: 1000 }, () => ({ x: Math.random() })))
}

/** @param {string} message @returns {never} */
export function fail(message) {
  throw new RangeError(message)
}

/** @param {string} name */
export function postTensor(name) {
  return weights().tensor(name).data
}

/** @param {string} words */
export function speak(words) {
  parentPort?.postMessage(words)
}

export function wait() {
  return new Promise(() => {})
}

/** @param {string} name */
export function missing(name) {
  return weights().tensor(name)
}

/**
 * Holds its thread until the pool's user wakes it, then tells which weights it had before and has after.
 * @param {{ gate: Int32Array }} task
 */
export function waitForSignal({ gate }) {
  const before = weights().tensor('a').data[1]
  Atomics.add(gate, 0, 1)
  Atomics.notify(gate, 0)
  while (Atomics.load(gate, 1) === 0) Atomics.wait(gate, 1, 0, 1000)
  return { before, after: weights().tensor('a').data[1] }
}

/** @param {{ gate: SharedArrayBuffer, name: string }} task */
export function elementAfterGate({ gate, name }) {
  Atomics.wait(new Int32Array(gate), 0, 0)
  return weights().tensor(name).data[0]
}
