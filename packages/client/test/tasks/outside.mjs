// Started by a plain Worker, which no pool gave a checkpoint.
import { parentPort } from 'node:worker_threads'
import { weights } from '@onecopy/client/worker'

try {
  weights()
} catch (error) {
  parentPort?.postMessage({ code: error.code, message: error.message })
}
