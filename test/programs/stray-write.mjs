// Writes to a tensor, in the main thread or in a thread of a pool; does not live to tell.
import { createWorkerPool, openCheckpoint } from 'onecopy'

const checkpoint = await openCheckpoint(process.argv[2] ?? '')
if (process.argv[3] === 'main') {
  // @ts-expect-error Views are read-only, which is what this is about.
  checkpoint.tensor('layer.weight').data[2] = 1
} else {
  const filename = new URL('./stray-write-task.mjs', import.meta.url)
  const pool = await createWorkerPool({ checkpoint, filename, maxThreads: 1 })
  await pool.run('layer.weight')
}
console.log('still alive')
