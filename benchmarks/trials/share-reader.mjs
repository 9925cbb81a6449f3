// @ts-check
// One process that reads a whole checkpoint, in its main thread or in the threads of a pool, and stays. It attaches to a
// coordinator where it is given one, and opens the files itself otherwise.
import { attach, createWorkerPool, openCheckpoint } from 'onecopy'
import { serve } from './answer.mjs'
import { touchTensors } from './touch.mjs'

const { folder, socket, name, threads } = JSON.parse(process.argv[2] ?? '{}')
const checkpoint = socket === null ? await openCheckpoint(folder) : await attach({ socket, checkpoint: name })

async function touchInThreads() {
  const pool = await createWorkerPool({
    checkpoint,
    filename: new URL('./touch.mjs', import.meta.url),
    minThreads: threads,
    maxThreads: threads,
    workerData: { threads, arrived: new SharedArrayBuffer(4) },
  })
  return Promise.all(Array.from({ length: threads }, () => pool.run(null)))
}

const sums = threads === 0 ? [touchTensors(checkpoint)] : await touchInThreads()
globalThis.gc?.()
await serve({ sums })
