// @ts-nocheck
// A process with a pool of a plan over an attached checkpoint: placed.mjs <socket> <checkpoint>.
import { attach, createWorkerPool } from '@onecopy/client'
import { answer } from './answer.mjs'

const [socket, name] = process.argv.slice(2)
const checkpoint = await attach({ socket, checkpoint: name })
const filename = new URL('../tasks/parts.mjs', import.meta.url)
let pool

answer({
  start: async ({ selections, ...plan }) => {
    const selection = (worker) => selections[worker]
    pool = await createWorkerPool({ checkpoint, filename, plan: { ...plan, selection } })
  },
  hashes: async () => (await pool.runAll(null)).map(({ hashes }) => hashes),
  arenaBytes: () => checkpoint.arenaBytes,
  closeCheckpoint: () => checkpoint.close(),
  destroy: () => pool.destroy(),
})
