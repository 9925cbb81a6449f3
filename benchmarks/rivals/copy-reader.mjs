// @ts-check
// What a Node program without sharing does: reads all files into memory, in its main thread or in each of its threads.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { serve } from '../trials/answer.mjs'

/** @param {string} folder */
function readAll(folder) {
  const names = readdirSync(folder).filter((name) => name.endsWith('.safetensors'))
  return names.map((name) => readFileSync(join(folder, name)))
}

if (isMainThread) {
  const { folder, threads } = JSON.parse(process.argv[2] ?? '{}')
  const held = threads === 0 ? readAll(folder) : []
  const workers = Array.from({ length: threads }, () => new Worker(new URL(import.meta.url), { workerData: folder }))
  const lengths = await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))))
  globalThis.gc?.()
  // Answering needs it: nothing that is held can be collected.
  await serve({ byteLengths: [...lengths, ...held.map(({ byteLength }) => byteLength)] }, () => held.length)
} else {
  const held = readAll(workerData)
  parentPort?.postMessage(held.reduce((sum, { byteLength }) => sum + byteLength, 0))
  // The thread stays, and with it what it holds.
  parentPort?.on('message', () => held.length)
}
