// Opens a checkpoint, lets N threads read all of it, and prints what the process occupied before and after.
import { createWorkerPool, openCheckpoint, processMemory } from 'onecopy'

const [path, threads] = [process.argv[2] ?? '', Number(process.argv[3])]
const checkpoint = await openCheckpoint(path)
const pool = await createWorkerPool({
  checkpoint,
  filename: new URL('./touch-everything.mjs', import.meta.url),
  minThreads: threads,
  maxThreads: threads,
  workerData: { threads, arrived: new SharedArrayBuffer(8) },
})
/** @param {string} name */
const inEveryThread = (name) => Promise.all(Array.from({ length: threads }, () => pool.run(null, { name })))
await inEveryThread('start')
const before = processMemory()
const results = await inEveryThread('default')
const after = processMemory()
await pool.destroy()
console.log(JSON.stringify({ byteLength: checkpoint.byteLength, before, after, results }))
checkpoint.close()
