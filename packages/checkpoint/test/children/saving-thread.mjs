// @ts-check
// A thread that saves one checkpoint after another below a folder until it is ended.
import { join } from 'node:path'
import { parentPort, threadId, workerData } from 'node:worker_threads'
import { saveCheckpoint } from '../../dist/index.js'

const data = new Uint8Array(2 ** 20)
parentPort?.postMessage('ready')
for (let at = 0; ; at++) {
  await saveCheckpoint(join(workerData, `${threadId}-${at}`), { x: { dtype: 'U8', shape: [data.length], data } })
}
