export type {
  AttachOptions,
  ConnectOptions,
  CoordinatorHealth,
  RemotePublishOptions,
  StatusOptions as CoordinatorStatusOptions,
} from './attach.ts'
export { attach, coordinatorHealth, coordinatorStatus, publishTo, retireFrom } from './attach.ts'
export { createWorkerPool } from './create-worker-pool.ts'
export type { ClientErrorCode, ClientErrorFields } from './errors.ts'
export { ClientError } from './errors.ts'
export type { PlacedPoolOptions, PoolPlan } from './placed-pool.ts'
export { PlacedPool } from './placed-pool.ts'
export type { WorkerPlace } from './worker-data.ts'
export type { PoolCloseOptions, PoolRunOptions, WorkerPoolOptions } from './worker-pool.ts'
export { WorkerPool } from './worker-pool.ts'
