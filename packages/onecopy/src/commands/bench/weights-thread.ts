import { parentPort, workerData } from 'node:worker_threads'
import { Checkpoint } from '@onecopy/checkpoint'

const checkpoint = Checkpoint.adopt(workerData)
checkpoint.tensor(checkpoint.names.at(-1)!)
parentPort?.postMessage({ atNs: process.hrtime.bigint() })
