export type { SelectedTensor, Selection } from '@onecopy/safetensors'
export type { CheckpointOrigin, CheckpointShare } from './checkpoint.ts'
export { Checkpoint } from './checkpoint.ts'
export { loadSelecting } from './selecting.ts'
