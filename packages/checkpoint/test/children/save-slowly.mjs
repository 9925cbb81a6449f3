// @ts-check
// Saves a tensor over a folder, says "saving" in the middle of it, and goes on when something comes in:
// node save-slowly.mjs <folder> [thread], the latter in a thread that is terminated instead
import { once } from 'node:events'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { saveCheckpoint } from '../../dist/index.js'

const [folder = '', thread] = isMainThread ? process.argv.slice(2) : [workerData]
const waiting = async () => {
  if (parentPort === null) process.stdout.write('saving\n')
  else parentPort.postMessage('saving')
  await (parentPort === null ? once(process.stdin, 'data') : new Promise(() => setInterval(() => {}, 1000)))
  return new Uint8Array(3).fill(7)
}
if (thread === 'thread') {
  const worker = new Worker(new URL(import.meta.url), { workerData: folder })
  await once(worker, 'message')
  await worker.terminate()
  process.stdout.write('terminated\n')
  await once(process.stdin, 'data')
} else {
  await saveCheckpoint(folder, [{ name: 'a', dtype: 'U8', shape: [3], data: waiting }])
}
process.stdin.destroy()
