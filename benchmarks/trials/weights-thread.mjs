// @ts-check
// A further thread: loads onecopy, takes the weights, and looks a tensor up.
import { parentPort } from 'node:worker_threads'
import { weights } from 'onecopy/worker'

const { tensorCount: tensors } = weights()
const atNs = process.hrtime.bigint()

// Once more with the library loaded: what the weights themselves take.
const Class = /** @type {typeof import('onecopy').Checkpoint} */ (weights().constructor)
const share = weights().share()
const started = performance.now()
const again = Class.adopt(share)
const found = again.has('lm_head.weight')
const takeMs = performance.now() - started
again.close()
parentPort?.postMessage({ atNs, tensors, found, takeMs })
