// @ts-check
import { parentPort } from 'node:worker_threads'

parentPort?.postMessage({ atNs: process.hrtime.bigint() })
