// @ts-nocheck
// Ends pools in one of several ways: end-pool.mjs <checkpoint> <way>. Says "ended" and leaves when no thread is left.
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { openCheckpoint } from '@onecopy/checkpoint'
import { createWorkerPool } from '@onecopy/client'

const [folder, way] = process.argv.slice(2)
const checkpoint = await openCheckpoint(folder)
const begun = new Int32Array(new SharedArrayBuffer(8))
const threads = (count) => ({ minThreads: count, maxThreads: count })
const start = (module, options = threads(2)) =>
  createWorkerPool({
    checkpoint,
    filename: new URL(`../tasks/${module}`, import.meta.url),
    workerData: { begun },
    ...options,
  })
const importBegan = async () => {
  while (Atomics.load(begun, 0) === 0) await sleep(5)
}

const ways = {
  async 'at once'() {
    for (let round = 0; round < 20; round++) await (await start('tensors.mjs')).destroy()
  },
  // When the first task has ended, the other thread is about to import.
  async 'after a task'() {
    for (let round = 0; round < 60; round++) {
      const pool = await start('tensors.mjs')
      await pool.run('t0')
      await pool.destroy()
    }
  },
  async 'in require() of ESM'() {
    for (let round = 0; round < 60; round++) {
      const pool = await start('requires-esm.cjs')
      await pool.run('a')
      await pool.destroy()
    }
  },
  async 'by swap() and close()'() {
    for (let round = 0; round < 25; round++) {
      const pool = await start('tensors.mjs')
      await pool.run('t0')
      const { swapped } = await pool.swap(checkpoint)
      await pool.run('t1')
      await swapped
      await pool.close()
    }
  },
  async 'in an endless import'() {
    const pool = await start('imports-endless.mjs', threads(1))
    await importBegan()
    await pool.destroy()
  },
  async 'in an import that waits for ever'() {
    const pool = await start('never-loaded.mjs', threads(1))
    const refused = pool.run('a').catch(({ message }) => message)
    await importBegan()
    await pool.destroy()
    await refused
  },
  // piscina replaces a thread that is ended by a signal, though its pool has ended meanwhile.
  async 'just after a signal'() {
    for (let round = 0; round < 20; round++) {
      const pool = await start('tensors.mjs')
      const controller = new AbortController()
      const refused = pool.run('t0', { name: 'wait', signal: controller.signal }).catch(() => {})
      await pool.run('t0')
      controller.abort()
      await refused
      await pool.destroy()
    }
  },
  async 'by a signal, in an endless import'() {
    const pool = await start('imports-endless.mjs', threads(1))
    const [thread] = pool.threads
    const controller = new AbortController()
    const refused = pool.run('a', { signal: controller.signal }).catch(() => {})
    await importBegan()
    const exit = once(thread, 'exit')
    controller.abort()
    await Promise.all([refused, exit])
    await pool.destroy()
  },
}
await ways[way]()
checkpoint.close()
console.log('ended')
