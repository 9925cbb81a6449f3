export { SharedMemoryError } from './mapped.ts'
export { isSealed } from './sealed-memory.ts'
export type { PeerCredentials, UnixStream, UnixStreamHandlers } from './unix-socket.ts'
export { closeDescriptors, connectUnix } from './unix-socket.ts'
