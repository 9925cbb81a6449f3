// @ts-check
// Saves six tensors of 100 bytes over a folder, two in a shard, and is killed in front of one of the calls that name
// or remove files: node save-dying.mjs <folder> <value> <step>. Ends with 0 when there is no such step.
import fs from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'

const [folder = '', value = '0', step = '1'] = process.argv.slice(2)
let steps = 0
for (const name of /** @type {const} */ (['rename', 'rm'])) {
  const call = /** @type {(...args: unknown[]) => unknown} */ (fs[name])
  const counted = (/** @type {unknown[]} */ ...args) => {
    if (++steps === Number(step)) process.kill(process.pid, 'SIGKILL')
    return call(...args)
  }
  Object.assign(fs, { [name]: counted })
}
syncBuiltinESMExports()

const { saveCheckpoint } = await import('../../dist/index.js')
const tensors = Array.from({ length: 6 }, (_, at) => ({
  name: `layer.${at}`,
  dtype: /** @type {const} */ ('U8'),
  shape: [100],
  data: new Uint8Array(100).fill(Number(value)),
}))
await saveCheckpoint(folder, tensors, { maxShardBytes: 200 })
