// From Node 22 on, worker.terminate() only ends the CommonJS module here; then this one runs, and waits as piscina does.
import './endless.cjs'
import { workerData } from 'node:worker_threads'

Atomics.wait(workerData.begun, 1, 0)
