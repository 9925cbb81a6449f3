import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { getSystemErrorName } from 'node:util'
import { SharedMemoryError, type SharedMemoryErrorCode } from './errors.ts'
import { limitText } from './limits.ts'
import type { NativeQuickRead } from './quick-read.ts'

/** What the native side gives for an open mapping; `handle` is opaque. */
export interface NativeMapping {
  readonly handle: object
  readonly id: number
  readonly byteLength: number
  readonly path: string
  readonly address: bigint
  readonly device: bigint
  readonly inode: bigint
  readonly modifiedNs: bigint
  readonly sealed: boolean
  readonly residencyVisible: boolean
}

/** What this kernel and this process allow; a limit of null is no limit. */
export interface MemoryLimits {
  readonly pageBytes: number
  readonly populateRead: boolean
  readonly sealing: boolean
  readonly lockLimitBytes: number | null
  readonly addressSpaceLimitBytes: number | null
  readonly descriptorLimit: number
}

/** What `adviseRange` can ask of the kernel; the numbers stand in native/residency.cc too. */
export const ADVICE = { readAhead: 0, populate: 1, read: 2, lock: 3, unlock: 4 } as const
export type Advice = (typeof ADVICE)[keyof typeof ADVICE]

/** A unix socket that carries descriptors; see native/unix-socket.h. */
export interface NativeSocket {
  watch(readable: boolean, writable: boolean): void
  send(bytes: Uint8Array, files: readonly object[]): number
  receive(bytes: Uint8Array): { readonly byteLength: number; readonly descriptors: readonly object[] } | null
  accept(): object | null
  peer(): { readonly pid: number; readonly uid: number; readonly gid: number; readonly groups: readonly number[] }
  isRead(): boolean
  close(): void
  setReferenced(referenced: boolean): void
}

/** The whole bridge. Arguments are validated on this side; all offsets and lengths are bytes, ranges half-open. */
export interface Addon {
  openFile(path: string, flags: number): object
  reopenDescriptor(file: object, direct: boolean): object | null
  shareDescriptor(file: object): object
  adoptDescriptor(number: number): object
  descriptorNumber(file: object): number
  closeDescriptor(file: object): void
  mapDescriptor(file: object, path: string, expectedByteLength: number): NativeMapping
  adoptMapping(id: number): NativeMapping | null
  closeMapping(handle: object): void
  isMapped(id: number): boolean
  descriptorOf(handle: object): object
  lingeringBytes(): number
  askForCollection(): void
  mappingCount(): number
  createBuffer(handle: object, byteOffset: number, byteLength: number): SharedArrayBuffer
  copyAligned(handle: object, byteOffset: number, byteLength: number): SharedArrayBuffer
  describeParts(handle: object, table: SharedArrayBuffer, ...layout: number[]): void
  residentBytes(handle: object, begin: number, end: number): number | null
  adviseRange(handle: object, begin: number, end: number, advice: Advice, limit: number): Promise<void>
  evictMapping(handle: object): void
  memoryLimits(): MemoryLimits
  readCheckpoint(
    indexPath: string | null,
    shardPaths: readonly string[],
    dtypeNames: readonly string[],
    dtypeBits: readonly number[],
    limits: readonly number[], // bytes of a header, of all headers, of the index; shards
    cancelled: Int32Array, // a job that finds it not 0 gives null
  ): Promise<NativeQuickRead | null>
  createMemory(label: string, byteLength: number): object
  fillMemory(memory: object, source: object, begin: number, end: number, dropBehind: boolean): Promise<void>
  copyRuns(memory: object, source: object, runs: Float64Array, dropBehind: boolean): Promise<void>
  expectScattered(file: object): void
  sealMemory(memory: object): object
  isSealed(file: object): boolean
  listenUnix(path: string, mode: number, backlog: number): object
  connectUnix(path: string): object
  sendDatagram(path: string, text: string): void
  lockFile(path: string): object | null
  takeFileLock(path: string): object | null
  isFileLocked(path: string): boolean
  watchLeases(onWriter: () => void): object
  unwatchLeases(watch: object): void
  takeLease(file: object): object
  leaseHolds(lease: object): boolean
  /** @param withStranger descriptors that come are closed where nobody waits for it */
  readonly UnixSocket: new (
    file: object,
    onReady: (readable: boolean, writable: boolean) => void,
    withStranger: boolean,
  ) => NativeSocket
  convertToFloat32(format: string, source: Uint8Array, elementCount: number, target: Float32Array): void
}

const MEND =
  'npm rebuild @onecopy/sharedarraybuffer-utils (with a C++ compiler and Node headers), pnpm: pnpm approve-builds'

function load(): { addon: Addon | null; reason: string | null; path: string } {
  const { platform, arch, versions, version } = process
  const path = fileURLToPath(new URL(`../prebuilds/${platform}-${arch}/abi${versions.modules}.node`, import.meta.url))
  const required = `required: ${path}, built for Node ABI ${versions.modules} (Node ${version})`
  if (process.env['ONECOPY_SKIP_NATIVE']) return { addon: null, reason: 'ONECOPY_SKIP_NATIVE is set', path }
  if (platform !== 'linux') return { addon: null, reason: `found: ${platform}; required: linux`, path }
  if (!existsSync(path)) return { addon: null, reason: `found: no such file; ${required}; to mend: ${MEND}`, path }
  try {
    return { addon: createRequire(import.meta.url)(path) as Addon, reason: null, path }
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error)
    return { addon: null, reason: `found: ${found}; ${required}; to mend: ${MEND}`, path }
  }
}

const loaded = load()

/** The native addon, or null where it cannot be had; `addonFailure` then says why. */
export const addon: Addon | null = loaded.addon

/** Why there is no addon: found, required, and the command that mends it. Null when there is one. */
export const addonFailure: string | null = loaded.reason

/** Where the addon is, or would have to be. */
export const addonPath: string = loaded.path

/** The addon, or ADDON_UNAVAILABLE. */
export function requireAddon(): Addon {
  if (addon === null) {
    throw new SharedMemoryError('ADDON_UNAVAILABLE', `The native addon is not available: ${addonFailure}`)
  }
  return addon
}

/** A system call that failed, as the bridge reports it. */
export interface SystemFailure {
  readonly errno: number
  readonly errnoName: string
  readonly syscall: string
  readonly path: string
  readonly actualBytes?: number
}

/** The facts of a native failure, or null when the error is something else. */
export function systemFailure(error: unknown): SystemFailure | null {
  if (!(error instanceof Error) || !('errno' in error) || !('syscall' in error)) return null
  const { errno, syscall, path } = error as Error & { errno: unknown; syscall: string; path?: string }
  // Our own errors have these fields too, and leave them undefined where there was no system call.
  if (typeof errno !== 'number') return null
  const actual = (error as { actualBytes?: number }).actualBytes
  const failure = { errno, errnoName: nameOf(Math.abs(errno)), syscall, path: path ?? '' }
  return actual === undefined ? failure : { ...failure, actualBytes: actual }
}

/** libuv has no name for some that come from network file systems, such as ESTALE; node has. */
function nameOf(errno: number): string {
  const known = Object.entries(process.getBuiltinModule('node:os').constants.errno).find(
    ([, number]) => number === errno,
  )
  return known?.[0] ?? getSystemErrorName(-errno)
}

/**
 * The limit that an error of the system ran into, as part of a sentence that says what it is and how to raise it; null for
 * any other error. Takes errors of this library, of Node, and those that have one of them as their cause.
 * @param neededFiles how many files had to be open at a time, where that is known
 */
export function limitBehind(error: unknown, neededFiles?: number): string | null {
  for (let each = error, depth = 0; each instanceof Error && depth < 8; each = each.cause, depth++) {
    const failure = systemFailure(each)
    const limited = failure ?? threadFailure(each)
    if (limited !== null) return limitText(limited, () => addon?.memoryLimits() ?? null, neededFiles)
  }
  return null
}

/** Node says in words alone which error of the system a thread could not start for. */
function threadFailure(error: Error): Pick<SystemFailure, 'errnoName' | 'syscall'> | null {
  if ((error as { code?: unknown }).code !== 'ERR_WORKER_INIT_FAILED') return null
  return { errnoName: /\bE[A-Z]+$/.exec(error.message)?.[0] ?? '', syscall: 'pthread_create' }
}

function limitSuffix(error: unknown): string {
  const limit = limitBehind(error)
  return limit === null ? '' : `: ${limit}`
}

/** A native failure as a SharedMemoryError; anything else is returned as it is. */
export function fromNative(error: unknown, code: SharedMemoryErrorCode, what: string): unknown {
  const failure = systemFailure(error)
  if (failure === null) return error
  if (failure.syscall === 'malloc') return outOfMemory(failure, what, error)
  const message = `${what}: ${failure.syscall} failed with ${failure.errnoName}${limitSuffix(error)}`
  return new SharedMemoryError(code, message, { ...failure, cause: error })
}

function outOfMemory({ actualBytes, path }: SystemFailure, what: string, cause: unknown): SharedMemoryError {
  const wanted = actualBytes ? `${actualBytes} bytes` : 'an object'
  const message = `${what}: no memory for ${wanted}${limitSuffix(cause)}`
  const expected = actualBytes ? { expectedBytes: actualBytes } : {}
  return new SharedMemoryError('OUT_OF_MEMORY', message, { path, ...expected, cause })
}

/** A native failure as node's own file functions would tell it: an Error whose `code` is the system's, such as ENOENT. */
export function systemError(error: unknown): unknown {
  const failure = systemFailure(error)
  if (failure === null) return error
  const { errnoName: code, errno, syscall, path } = failure
  const message = `${code}: ${syscall}${path === '' ? '' : ` '${path}'`}${limitSuffix(error)}`
  return Object.assign(new Error(message, { cause: error }), { code, errno: -errno, syscall, path })
}
