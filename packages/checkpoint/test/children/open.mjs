// @ts-check
// Opens a checkpoint twice and prints what came of it, in this thread and in one that adopts: node open.mjs <source> [options as JSON]
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { mappingCount } from '@onecopy/sharedarraybuffer-utils'
import { openCheckpoint } from '../../dist/index.js'
import { digest } from './digest.mjs'

/** @type {{ code: string | undefined, message: string }[]} */
const warnings = []
process.on('warning', (warning) => {
  const { code, message } = /** @type {Error & { code?: string }} */ (warning)
  warnings.push({ code, message })
})

/** @type {Record<string, unknown>} */
let result
try {
  const [source = '', options = '{}'] = process.argv.slice(2)
  const checkpoint = await openCheckpoint(source, JSON.parse(options))
  const again = await openCheckpoint(source, JSON.parse(options))
  again.close()
  const worker = new Worker(new URL('./adopting-worker.mjs', import.meta.url), { workerData: checkpoint.share() })
  worker.postMessage({ id: 0, task: 'digest', args: [] })
  const [answer] = await once(worker, 'message')
  await worker.terminate()
  const { residentBytes } = await checkpoint.prefetch()
  result = { backing: checkpoint.backing, residentBytes, tensors: digest(checkpoint), inWorker: answer.result }
} catch (error) {
  const { name, code, path, message } = /** @type {Error & { code?: string, path?: string }} */ (error)
  result = { error: { name, code, path, message } }
}
await new Promise(setImmediate) // warnings are emitted on a later tick
process.stdout.write(JSON.stringify({ ...result, warnings, mappings: mappingCount() }))
