// @ts-nocheck
// A pool whose threads cannot be started, since the process has as many files open as it may; then it has room again.
import { spawnSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { openCheckpoint } from '@onecopy/checkpoint'
import { createWorkerPool } from '@onecopy/client'

const checkpoint = await openCheckpoint(process.argv[2])
const filename = new URL('../tasks/tensors.mjs', import.meta.url).href
const pool = await createWorkerPool({ checkpoint, filename, minThreads: 0, maxThreads: 1 })
spawnSync('prlimit', [`--pid=${process.pid}`, '--nofile=100:100'])
const open = []
try {
  for (;;) open.push(openSync('/dev/null'))
} catch {}
const refused = await pool.run('t0').catch(({ code, message, cause }) => ({ code, message, cause: cause?.code }))
for (const file of open) closeSync(file)
const later = await pool.run('t0').then(
  () => 'ran',
  ({ code }) => code,
)
console.log(JSON.stringify({ ...refused, later }))
await pool.destroy()
