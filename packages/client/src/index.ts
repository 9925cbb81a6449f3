export type { ClientErrorCode } from './errors.ts'
export { ClientError } from './errors.ts'
export type { WorkerPoolOptions } from './worker-pool.ts'
export { createWorkerPool, WorkerPool } from './worker-pool.ts'
