export { addonFailure, limitBehind } from './addon.ts'
export type { AssembledSource } from './assembled-memory.ts'
export { assembleSealed } from './assembled-memory.ts'
export type { Capabilities } from './capabilities.ts'
export { capabilities } from './capabilities.ts'
export type { ConvertibleFormat, SourceBytes } from './convert.ts'
export { CONVERTIBLE_FORMATS, convertToFloat32 } from './convert.ts'
export {
  adoptDescriptor,
  closeDescriptors,
  createFile,
  Descriptor,
  openFolder,
  openRegularFile,
} from './descriptor.ts'
export type { SharedMemoryErrorCode, SharedMemoryErrorFields } from './errors.ts'
export { SharedMemoryError } from './errors.ts'
export { FileLease } from './file-lease.ts'
export { FileLock } from './file-lock.ts'
export type { HeapCopyOptions, HeapCopyShare } from './heap-copy.ts'
export { copyToHeap, HeapCopy } from './heap-copy.ts'
export { lingeringBytes } from './lingering.ts'
export type { ByteRange, FileIdentity, FileMappingShare, MapOptions, PartTable } from './mapping.ts'
export { adoptFileMapping, FileMapping, mapDescriptor, mapFile, mappingCount } from './mapping.ts'
export type { ProcessMemory } from './process-memory.ts'
export { mappingMemory, processMemory } from './process-memory.ts'
export type { FormatFacts, QuickRead, QuickReadSource } from './quick-read.ts'
export { readQuickly } from './quick-read.ts'
export type { PopulateOptions } from './residency.ts'
export { evict, lock, populate, prefetch, residentBytes, unlock } from './residency.ts'
export type { SealOptions } from './sealed-memory.ts'
export { isSealed, sealBytes, sealFile } from './sealed-memory.ts'
export type { PeerCredentials, UnixStreamHandlers } from './unix-socket.ts'
export {
  connectUnix,
  listenUnix,
  lockFile,
  sendDatagram,
  UnixListener,
  UnixStream,
} from './unix-socket.ts'
