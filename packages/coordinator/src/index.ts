export type { AdmissionOptions } from './admission.ts'
export type { CoordinatorEvent, CoordinatorOptions } from './coordinator.ts'
export { Coordinator, startCoordinator } from './coordinator.ts'
export type { PublishOptions } from './registry.ts'
