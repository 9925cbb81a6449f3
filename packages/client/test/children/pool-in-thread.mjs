// @ts-nocheck
// A pool in a thread of its own: gives what its task read, and is ended in the midst of another.
import { parentPort, workerData } from 'node:worker_threads'
import { openCheckpoint } from '@onecopy/checkpoint'
import { createWorkerPool } from '@onecopy/client'

const checkpoint = await openCheckpoint(workerData.folder)
const filename = new URL('../tasks/tensors.mjs', import.meta.url)
const pool = await createWorkerPool({ checkpoint, filename, minThreads: 1, maxThreads: 2 })
const error = await pool.run('t00', { name: 'missing' }).catch((reason) => reason)
parentPort.postMessage({ first: await pool.run('t0', { name: 'firstElement' }), code: error.code })
await pool.run(null, { name: 'wait' })
