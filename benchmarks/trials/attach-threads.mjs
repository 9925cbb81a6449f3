// @ts-check
// In a process whose pool has N threads on a checkpoint: starts one thread more, again and again, with the weights and
// without, and prints how long each took until its first own line.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { createWorkerPool, openCheckpoint } from 'onecopy'

const { folder, threads, rounds, warmUps } = JSON.parse(process.argv[2] ?? '{}')
const checkpoint = await openCheckpoint(folder)
const filename = new URL('./count-tensors.mjs', import.meta.url)
const pool = await createWorkerPool({ checkpoint, filename, minThreads: threads, maxThreads: Math.max(1, threads) })
// Each of the threads that were there before has loaded the module and looked into the checkpoint.
await Promise.all(Array.from({ length: threads }, () => pool.run(null)))
// What the pool gives to every thread that it starts.
const { workerData } = pool.piscina.options

/**
 * @param {string} program
 * @param {unknown} data
 * @returns {Promise<{ ms: number, takeMs: number }>} milliseconds, of which the last are for the weights alone
 */
async function start(program, data) {
  const started = process.hrtime.bigint()
  const worker = new Worker(new URL(program, import.meta.url), { workerData: data })
  const exited = once(worker, 'exit')
  const [{ atNs, tensors, takeMs }] = await once(worker, 'message')
  if (tensors !== undefined && tensors !== checkpoint.tensorCount) throw new Error(`The thread has ${tensors} tensors`)
  await exited
  return { ms: Number(atNs - started) / 1e6, takeMs }
}

/** @type {{ bare: number[], ours: number[], take: number[] }} */
const samples = { bare: [], ours: [], take: [] }
for (let round = -warmUps; round < rounds; round++) {
  const measureBare = async () => (await start('./bare-thread.mjs', null)).ms
  // In turns: nobody always comes first.
  const early = round % 2 === 0 ? await measureBare() : null
  const ours = await start('./weights-thread.mjs', workerData)
  const bare = early ?? (await measureBare())
  if (round < 0) continue
  samples.bare.push(bare)
  samples.ours.push(ours.ms)
  samples.take.push(ours.takeMs)
}
await pool.destroy()
checkpoint.close()
console.log(JSON.stringify(samples))
