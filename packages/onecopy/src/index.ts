export type {
  BytesOf,
  CheckpointErrorCode,
  CheckpointErrorFields,
  CheckpointShare,
  CheckpointSource,
  LocateOptions,
  OpenOptions,
  PrefetchOptions,
  Progress,
  ReadonlyTypedArray,
  Residency,
  ResidencyPolicy,
  SavedCheckpoint,
  SaveOptions,
  ShardInfo,
  TensorToSave,
} from '@onecopy/checkpoint'
export { Checkpoint, CheckpointError, openCheckpoint, saveCheckpoint, TensorView } from '@onecopy/checkpoint'
export type {
  AttachOptions,
  ClientErrorCode,
  ConnectOptions,
  RemotePublishOptions,
  WorkerPoolOptions,
} from '@onecopy/client'
export {
  attach,
  ClientError,
  coordinatorStatus,
  createWorkerPool,
  publishTo,
  retireFrom,
  WorkerPool,
} from '@onecopy/client'
export type {
  AdmissionOptions,
  CoordinatorEvent,
  CoordinatorOptions,
  PublishOptions,
  WriterPolicy,
} from '@onecopy/coordinator'
export { Coordinator, startCoordinator } from '@onecopy/coordinator'
export type {
  CheckpointStatus,
  ClientStatus,
  CoordinatorErrorCode,
  CoordinatorErrorFields,
  CoordinatorStatus,
  LeaseStatus,
  MemoryHolder,
  ProtocolErrorCode,
  ProtocolErrorFields,
  ProtocolRange,
  VersionState,
  VersionStatus,
} from '@onecopy/protocol'
export { CoordinatorError, defaultSocketPath, ProtocolError } from '@onecopy/protocol'
export type {
  Dtype,
  Header,
  MetadataInput,
  SafetensorsErrorCode,
  SafetensorsErrorFields,
  SelectedTensor,
  Selection,
  SerializedHeader,
  ShardIndex,
  SliceRange,
  TensorData,
  TensorInfo,
  TensorSpec,
} from '@onecopy/safetensors'
export {
  DTYPES,
  parseHeader,
  parseSafetensors,
  parseShardIndex,
  readHeaderLength,
  SafetensorsError,
  serialize,
  serializeHeader,
} from '@onecopy/safetensors'
export type {
  Capabilities,
  ProcessMemory,
  SharedMemoryErrorCode,
  SharedMemoryErrorFields,
} from '@onecopy/sharedarraybuffer-utils'
export { capabilities, processMemory, SharedMemoryError } from '@onecopy/sharedarraybuffer-utils'
