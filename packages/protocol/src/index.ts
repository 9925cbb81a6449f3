export { absoluteSource } from './absolute-source.ts'
export { assertCheckpointName, isCheckpointName } from './checkpoint-name.ts'
export type { ClientConnection, ConnectionHandlers, CoordinatorConnection } from './connection.ts'
export {
  Connection,
  clientConnection,
  coordinatorConnection,
  FRAME_TIMEOUT_MS,
  MAX_PENDING_BYTES,
} from './connection.ts'
export type {
  CoordinatorErrorCode,
  CoordinatorErrorFields,
  MemoryHolder,
  ProtocolErrorCode,
  ProtocolErrorFields,
  ProtocolRange,
} from './errors.ts'
export { CoordinatorError, ProtocolError } from './errors.ts'
export {
  FRAME_HEADER_BYTES,
  MAX_DESCRIPTORS_A_FRAME,
  MAX_FRAME_BYTES,
  MAX_HELLO_BYTES,
} from './frame.ts'
export { agreeOnProtocol, HELLO_TIMEOUT_MS, OLDEST_PROTOCOL, PROTOCOL, SOFTWARE } from './handshake.ts'
export type {
  Acquire,
  ClientMessage,
  ClosingEvent,
  CoordinatorMessage,
  Done,
  DoneResult,
  Failed,
  Granted,
  Hello,
  Message,
  Publish,
  Refused,
  Release,
  Resume,
  Resumed,
  Retire,
  RetiredEvent,
  StatusReply,
  StatusRequest,
  VersionEvent,
  Welcome,
  WireShard,
} from './messages.ts'
export { descriptorCountOf, MAX_WAIT_MS } from './messages.ts'
export { MAX_NAME_BYTES, MAX_SELECTION_BYTES, MAX_SHARDS } from './schema.ts'
export { defaultSocketPath, SOCKET_RULE } from './socket-path.ts'
export type {
  Backing,
  CheckpointStatus,
  ClientStatus,
  CoordinatorStatus,
  LeaseStatus,
  VersionState,
  VersionStatus,
} from './status.ts'
export { fitStatus } from './status.ts'
export { unlessAborted } from './unless-aborted.ts'
export type { WireError } from './wire-error.ts'
export { fromWire, toWire } from './wire-error.ts'
