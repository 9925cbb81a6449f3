// @ts-nocheck
// Aborts tasks while their answers are on the way: late-answers.mjs <checkpoint> <way>. Without a listener for errors, so that
// one would end the process. Says what the tasks ended with, and leaves.
import { openCheckpoint } from '@onecopy/checkpoint'
import { createWorkerPool } from '@onecopy/client'

const [folder, way] = process.argv.slice(2)
const checkpoint = await openCheckpoint(folder)
const filename = new URL('../tasks/gated.mjs', import.meta.url)
const pool = await createWorkerPool({ checkpoint, filename, minThreads: 1, maxThreads: 1 })
const gate = new Int32Array(new SharedArrayBuffer(4))
const ended = new Set()

for (let round = 0; round < 20; round++) {
  // So that the thread is there, and nothing but the gate lies between the task and its end.
  await pool.run({ gate, way: 'answers' })
  Atomics.store(gate, 0, 0)
  const controller = new AbortController()
  const task = pool.run({ gate, way }, { signal: controller.signal }).then(
    (value) => ended.add(value),
    ({ name, message }) => ended.add(name === 'AbortError' ? name : message),
  )
  // This thread hears of nothing meanwhile.
  Atomics.wait(gate, 0, 0)
  Atomics.wait(gate, 0, 1, 20)
  controller.abort()
  await task
}
const queued = ['answers', 'answers'].map((next) => pool.run({ gate, way: next }))
console.log(JSON.stringify([...ended, ...(await Promise.all(queued))]))
await pool.close()
checkpoint.close()
