// Its import never ends, though its thread is idle.
import { workerData } from 'node:worker_threads'

Atomics.store(workerData.begun, 0, 1)
await new Promise(() => {})
