// Started by a plain Worker, which no pool gave a checkpoint.
import { parentPort } from 'node:worker_threads'
import { weights } from '@onecopy/client/worker'

try {
  weights()
} catch (error) {
  const { code, message } = /** @type {Error & { code: string }} */ (error)
  parentPort?.postMessage({ code, message })
}
