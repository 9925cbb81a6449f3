// @ts-check
import { parentPort, workerData } from 'node:worker_threads'
import { Checkpoint } from '../../dist/index.js'
import { digest } from './digest.mjs'

const checkpoint = Checkpoint.adopt(workerData)

/** @type {Record<string, (...args: any[]) => unknown>} */
const tasks = {
  digest: () => digest(checkpoint),
  backing: () => checkpoint.backing,
  /** @param {string} name @param {...number} places */
  elements: (name, ...places) => places.map((place) => checkpoint.tensor(name).data[place]),
  /** @param {ArrayLike<number>} data @param {...number} places */
  elementsOf: (data, ...places) => places.map((place) => data[place]),
  /** @param {SharedArrayBuffer} buffer @param {...number} places */
  floatsOf: (buffer, ...places) => places.map((place) => new Float32Array(buffer)[place]),
  /** @param {string} name @param {number} begin @param {number} end */
  bytes: (name, begin, end) => [...new Uint8Array(checkpoint.tensor(name).slice([begin, end]).buffer)],
  /** @param {string} name */
  buffer: (name) => checkpoint.tensor(name).buffer,
  prefetchSteps: async () => {
    /** @type {number[]} */
    const done = []
    await checkpoint.prefetch({ onProgress: ({ doneBytes }) => done.push(doneBytes) })
    return done.map((bytes, at) => bytes - (done[at - 1] ?? 0))
  },
  close: () => checkpoint.close(),
}

parentPort?.on('message', async ({ id, task, args }) => {
  try {
    parentPort?.postMessage({ id, result: await tasks[task]?.(...args) })
  } catch (error) {
    const { code, message } = /** @type {Error & { code: string }} */ (error)
    parentPort?.postMessage({ id, error: { code, message } })
  }
})
