export type { WorkerPlace } from '@onecopy/client'
export { place, weights } from '@onecopy/client/worker'
