// @ts-check
// Attaches when it may open only so many more files, and prints the error: node attach-limited.mjs <socket> <name> <left>
import { closeSync, openSync } from 'node:fs'
import { attach } from '../../dist/index.js'

const [socket = '', checkpoint = '', left = '0'] = process.argv.slice(2)
/** @type {number[]} */
const taken = []
try {
  for (;;) taken.push(openSync('/dev/null', 'r'))
} catch {}
for (const descriptor of taken.splice(0, Number(left))) closeSync(descriptor)
try {
  const attached = await attach({ socket, checkpoint })
  process.stdout.write(JSON.stringify({ tensors: attached.tensorCount }))
  attached.close()
} catch (error) {
  const { code, message } = /** @type {Error & { code?: string }} */ (error)
  process.stdout.write(JSON.stringify({ code, message }))
}
process.exit()
