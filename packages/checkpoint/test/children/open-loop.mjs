// @ts-check
// Opens a checkpoint again and again until "stop" comes in, and prints what it saw. Every tensor of a version is filled
// with one byte, so two different bytes are a mixture: node open-loop.mjs <source> <options as JSON> <read | open>
import { openCheckpoint } from '../../dist/index.js'

const [source = '', options = '{}', task = 'read'] = process.argv.slice(2)
const summary = {
  opened: 0,
  /** @type {number[]} */ versions: [],
  /** @type {unknown[]} */ mixtures: [],
  /** @type {Record<string, number>} */ errors: {},
  /** @type {string[]} */ strange: [],
}
let stopped = false
process.stdin.on('data', () => {
  stopped = true
})

async function openOnce() {
  try {
    const checkpoint = await openCheckpoint(source, JSON.parse(options))
    summary.opened++
    if (task === 'read') look(checkpoint)
    checkpoint.close()
  } catch (error) {
    const { name, code, stack } = /** @type {Error & { code?: string }} */ (error)
    if (code === undefined || !/^(Checkpoint|SharedMemory|Safetensors)Error$/.test(name))
      summary.strange.push(`${stack}`)
    else summary.errors[code] = (summary.errors[code] ?? 0) + 1
  }
}

/** @param {import('../../dist/index.js').Checkpoint} checkpoint */
function look(checkpoint) {
  const values = new Set()
  for (const { buffer } of checkpoint.tensors()) for (const byte of new Uint8Array(buffer)) values.add(byte)
  const [version] = values
  if (values.size !== 1 || checkpoint.tensorCount !== 6) summary.mixtures.push([...values, checkpoint.tensorCount])
  else if (!summary.versions.includes(version)) summary.versions.push(version)
}

await openOnce()
process.stdout.write('ready\n')
for (let round = 1; !stopped; round++) {
  await openOnce()
  if (round === 200) process.stdout.write('200 times\n')
  await new Promise(setImmediate)
}
await openOnce()
process.stdout.write(`${JSON.stringify(summary)}\n`)
process.stdin.destroy()
