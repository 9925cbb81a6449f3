// @ts-check
// Gives tasks that do nothing to two pools of the same size, in turns: bare piscina, and one with a checkpoint.
import { createWorkerPool, openCheckpoint } from 'onecopy'
import { Piscina } from 'piscina'
import { measureInTurns } from './rounds.mjs'

const { folder, threads, burst, rounds, ones, bursts } = JSON.parse(process.argv[2] ?? '{}')
const filename = new URL('./empty-task.mjs', import.meta.url).href
const size = { minThreads: threads, maxThreads: threads }
const bare = new Piscina({ ...size, filename })
const checkpoint = await openCheckpoint(folder)
const pool = await createWorkerPool({ ...size, filename, checkpoint })

/** @param {{ run: (task: number) => Promise<unknown> }} either */
const burstOn = (either) => () => Promise.all(Array.from({ length: burst }, (_, at) => either.run(at)))

const measured = {
  ...(await measureInTurns({ bareOne: () => bare.run(1), onecopyOne: () => pool.run(1) }, { rounds, calls: ones })),
  ...(await measureInTurns({ bareBurst: burstOn(bare), onecopyBurst: burstOn(pool) }, { rounds, calls: bursts })),
}
await bare.destroy()
await pool.destroy()
checkpoint.close()
console.log(JSON.stringify(measured))
