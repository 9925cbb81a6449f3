import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { fromNative, requireAddon, systemFailure } from './addon.ts'
import { SharedMemoryError } from './errors.ts'
import { type FileMapping, mapDescriptor } from './mapping.ts'
import { residentBytes } from './residency.ts'

/** One job on the thread pool: large enough for a disk, small enough for progress and abort. */
const JOB_BYTES = 32 * 2 ** 20

/** Jobs at a time; see JOBS_AT_A_TIME in residency.ts. */
const JOBS_AT_A_TIME = 3

/** Options of `sealFile`. */
export interface SealOptions {
  readonly onProgress?: (doneBytes: number) => void
  readonly signal?: AbortSignal
  /**
   * How the file is read: `buffered` through the page cache, `direct` past it. @default `direct` where most of the file is
   * not in the page cache and its file system can, which is faster then, else `buffered`
   */
  readonly method?: 'buffered' | 'direct'
}

/**
 * Copies an open file into anonymous memory, byte for byte, seals it so that nobody can change, grow or cut it any more,
 * and maps it. The file's own pages are dropped from RAM behind the copy, unless others have them mapped.
 * @param path how messages name the file
 * @throws SharedMemoryError SEAL_FAILED (no memory, a read error), FILE_CHANGED when the file is shorter than `byteLength`;
 * nothing stays behind
 */
export async function sealFile(
  descriptor: number,
  path: string,
  byteLength: number,
  options: SealOptions = {},
): Promise<FileMapping> {
  const memory = createMemory(path, byteLength)
  const method = options.method ?? (mostlyCached(descriptor, path) ? 'buffered' : 'direct')
  const direct = method === 'direct' ? openDirect(descriptor) : null
  try {
    await fill(memory, { descriptor, direct, path, byteLength }, options)
    return mapSealed(memory, path, byteLength)
  } finally {
    closeSync(memory)
    if (direct !== null) closeSync(direct)
  }
}

/** Bytes as sealed memory, such as a directory that goes to other processes. */
export function sealBytes(bytes: Uint8Array, label: string): FileMapping {
  const memory = createMemory(label, bytes.byteLength)
  try {
    for (let done = 0; done < bytes.byteLength; ) done += writeSync(memory, bytes, done, undefined, done)
    return mapSealed(memory, label, bytes.byteLength)
  } catch (error) {
    throw fromNative(error, 'SEAL_FAILED', `Cannot write ${bytes.byteLength} bytes of memory for "${label}"`)
  } finally {
    closeSync(memory)
  }
}

/** Whether a descriptor is memory that nobody can write, grow, cut or unseal. */
export function isSealed(descriptor: number): boolean {
  return requireAddon().isSealed(descriptor)
}

function createMemory(label: string, byteLength: number): number {
  try {
    // The kernel takes 249 bytes of a name; it is only seen in /proc/<pid>/maps. A character that is cut becomes U+FFFD.
    return requireAddon().createMemory(`onecopy:${Buffer.from(label).subarray(-200)}`, byteLength)
  } catch (error) {
    throw fromNative(error, 'SEAL_FAILED', `Cannot make ${byteLength} bytes of memory for "${label}"`)
  }
}

function mapSealed(memory: number, path: string, byteLength: number): FileMapping {
  let reader: number
  try {
    reader = requireAddon().sealMemory(memory)
  } catch (error) {
    throw fromNative(error, 'SEAL_FAILED', `Cannot seal the memory of "${path}"`)
  }
  try {
    return mapDescriptor(reader, path, { expectedByteLength: byteLength })
  } finally {
    closeSync(reader)
  }
}

function openDirect(descriptor: number): number | null {
  try {
    return openSync(`/proc/self/fd/${descriptor}`, constants.O_RDONLY | constants.O_DIRECT)
  } catch {
    return null // tmpfs and others have no O_DIRECT
  }
}

/** Whether reading past the page cache would read most of the file from the disk again. */
function mostlyCached(descriptor: number, path: string): boolean {
  try {
    using mapping = mapDescriptor(descriptor, path)
    const resident = residentBytes(mapping)
    return resident === null || resident * 2 >= mapping.byteLength
  } catch {
    // No room to map it, say. The copy itself will tell what is wrong.
    return true
  }
}

interface Source {
  readonly descriptor: number
  /** The same file, opened with O_DIRECT; null where it is read through the page cache. */
  readonly direct: number | null
  readonly path: string
  readonly byteLength: number
}

async function fill(memory: number, source: Source, options: SealOptions): Promise<void> {
  const { signal, onProgress } = options
  const { path, byteLength } = source
  let next = 0
  let doneBytes = 0
  let failed = false
  const work = async (): Promise<void> => {
    while (next < byteLength && !failed) {
      const begin = next
      const end = Math.min(begin + JOB_BYTES, byteLength)
      next = end
      try {
        signal?.throwIfAborted()
        await copyRange(memory, source, begin, end)
      } catch (error) {
        failed = true
        throw explain(error, path, byteLength)
      }
      doneBytes += end - begin
      onProgress?.(doneBytes)
    }
  }
  const results = await Promise.allSettled(Array.from({ length: JOBS_AT_A_TIME }, work))
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

async function copyRange(memory: number, { descriptor, direct }: Source, begin: number, end: number): Promise<void> {
  const { fillMemory } = requireAddon()
  if (direct === null) return fillMemory(memory, descriptor, begin, end, true)
  try {
    await fillMemory(memory, direct, begin, end, false)
  } catch (error) {
    // Some file systems take the flag and refuse the read, or ask for larger blocks than ours.
    if (systemFailure(error)?.errnoName !== 'EINVAL') throw error
    await fillMemory(memory, descriptor, begin, end, true)
  }
}

function explain(error: unknown, path: string, byteLength: number): unknown {
  const failure = systemFailure(error)
  if (failure === null) return error
  if (failure.actualBytes !== undefined) {
    const message = `"${path}" changed while it was copied: it ends before ${byteLength} bytes`
    const fields = { path, actualBytes: failure.actualBytes, expectedBytes: byteLength, cause: error }
    return new SharedMemoryError('FILE_CHANGED', message, fields)
  }
  const message = `Cannot copy "${path}" into sealed memory: ${failure.syscall} failed with ${failure.errnoName}`
  return new SharedMemoryError('SEAL_FAILED', message, { ...failure, path, cause: error })
}
