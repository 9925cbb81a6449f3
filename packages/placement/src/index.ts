export type { Box } from './boxes.ts'
export type { MemoryShortage } from './check-memory.ts'
export { ACT_ORDER_COMPANIONS, DEFAULT_COMPANIONS } from './companions.ts'
export type { DeviceMap, DeviceMapOptions, MaxMemory, MaxMemoryOptions } from './device-map.ts'
export { fromDeviceMap, fromMaxMemory } from './device-map.ts'
export type { HostDiff, MovedBytes, PlanDiff } from './diff.ts'
export type { PlacementErrorCode, PlacementErrorFields } from './errors.ts'
export { PlacementError } from './errors.ts'
export type { ExplainOptions } from './explain.ts'
export type { HostShare } from './host-share.ts'
export { layoutOf } from './layout.ts'
export type { ModelConfig } from './model-config.ts'
export type { OneHostOptions } from './one-host.ts'
export { oneHost } from './one-host.ts'
export { Plan } from './plan.ts'
export type {
  HostTotals,
  Part,
  PlacedTensor,
  PlanData,
  PlannedHost,
  PlannedWorker,
  PlanTotals,
} from './plan-data.ts'
export { planPlacement } from './plan-placement.ts'
export type {
  Companion,
  MeshShape,
  Objective,
  Pattern,
  Policy,
  Rule,
  Split,
  SplitAxis,
  StageChoice,
  Stages,
} from './policy.ts'
export type { Preset, PresetName } from './presets.ts'
export { PRESETS, presetFor } from './presets.ts'
export { readPolicy } from './read-policy.ts'
export { readTopology } from './read-topology.ts'
export type { Host, NumaNode, Topology, Worker } from './topology.ts'
export type { TpPlan, TpPlanOptions } from './tp-plan.ts'
export { fromTpPlan } from './tp-plan.ts'
export type { WorkerShare, WorkerTensor } from './worker-share.ts'
