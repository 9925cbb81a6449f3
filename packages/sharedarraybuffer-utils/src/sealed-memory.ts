import { writeSync } from 'node:fs'
import { fromNative, requireAddon, systemFailure } from './addon.ts'
import { Descriptor, reopen } from './descriptor.ts'
import { SharedMemoryError } from './errors.ts'
import { type ByteRange, type FileMapping, mapDescriptor, requireRange } from './mapping.ts'
import { residentBytes, splitIntoJobs } from './residency.ts'

/** What O_DIRECT asks of offsets on every usual file system. */
const DIRECT_ALIGN = 4096

/** Jobs at a time; see JOBS_AT_A_TIME in residency.ts. */
const JOBS_AT_A_TIME = 3

/** Options of `sealFile`. */
export interface SealOptions {
  readonly onProgress?: (doneBytes: number) => void
  readonly signal?: AbortSignal
  /** What is copied; the rest reads as zeros, and takes no memory until it is read. @default all */
  readonly ranges?: readonly ByteRange[]
  /**
   * How the file is read: `buffered` through the page cache, `direct` past it. @default `direct` where most of it is
   * not in the page cache and its file system can, which is faster then, else `buffered`
   */
  readonly method?: 'buffered' | 'direct'
}

/**
 * Copies an open file into anonymous memory, byte for byte, seals it so that nobody can change, grow or cut it any more,
 * and maps it. The file's own pages are dropped from RAM behind the copy, unless others have them mapped.
 * @param path how messages name the file
 * @throws SharedMemoryError SEAL_FAILED (no memory, a read error), FILE_CHANGED when the file is shorter than `byteLength`,
 * RANGE_OUT_OF_BOUNDS; nothing stays behind
 */
export async function sealFile(
  file: Descriptor,
  path: string,
  byteLength: number,
  options: SealOptions = {},
): Promise<FileMapping> {
  using memory = createMemory(path, byteLength)
  const method = options.method ?? (mostlyCached(file, path, options.ranges) ? 'buffered' : 'direct')
  using direct = method === 'direct' ? reopen(file, true) : null
  await fill(memory, { file, direct, path, byteLength }, options)
  return mapSealed(memory, path, byteLength)
}

/** Bytes as sealed memory, such as a directory that goes to other processes. */
export function sealBytes(bytes: Uint8Array, label: string): FileMapping {
  using memory = createMemory(label, bytes.byteLength)
  writeStart(memory, bytes, label)
  return mapSealed(memory, label, bytes.byteLength)
}

/**
 * Whether a descriptor is memory that nobody can write, grow, cut or unseal.
 * @throws SharedMemoryError SEAL_FAILED where this process may not ask
 */
export function isSealed(file: Descriptor): boolean {
  try {
    return requireAddon().isSealed(file.handle)
  } catch (error) {
    throw fromNative(error, 'SEAL_FAILED', 'Cannot tell whether a descriptor is sealed memory')
  }
}

/** @internal Memory that can be sealed; the caller closes it. */
export function createMemory(label: string, byteLength: number): Descriptor {
  try {
    // The kernel takes 249 bytes of a name; it is only seen in /proc/<pid>/maps. A character that is cut becomes U+FFFD.
    return new Descriptor(requireAddon().createMemory(`onecopy:${Buffer.from(label).subarray(-200)}`, byteLength))
  } catch (error) {
    throw fromNative(error, 'SEAL_FAILED', `Cannot make ${byteLength} bytes of memory for "${label}"`)
  }
}

/** @internal Writes bytes to the beginning of memory. */
export function writeStart(memory: Descriptor, bytes: Uint8Array, label: string): void {
  try {
    for (let done = 0; done < bytes.byteLength; ) done += writeSync(memory.number, bytes, done, undefined, done)
  } catch (error) {
    throw fromNative(error, 'SEAL_FAILED', `Cannot write ${bytes.byteLength} bytes of memory for "${label}"`)
  }
}

/** @internal Seals memory and maps it; the descriptor stays the caller's to close. */
export function mapSealed(memory: Descriptor, path: string, byteLength: number): FileMapping {
  using reader = seal(memory, path)
  return mapDescriptor(reader, path, { expectedByteLength: byteLength })
}

function seal(memory: Descriptor, path: string): Descriptor {
  try {
    return new Descriptor(requireAddon().sealMemory(memory.handle))
  } catch (error) {
    throw fromNative(error, 'SEAL_FAILED', `Cannot seal the memory of "${path}"`)
  }
}

/** Whether reading past the page cache would read most of what is copied from the disk again. */
function mostlyCached(file: Descriptor, path: string, ranges?: readonly ByteRange[]): boolean {
  try {
    using mapping = mapDescriptor(file, path)
    let cached = 0
    for (const range of ranges ?? [{ begin: 0, end: mapping.byteLength }]) {
      const resident = residentBytes(mapping, range)
      if (resident === null) return true
      cached += resident - (range.end - range.begin) / 2
    }
    return cached >= 0
  } catch {
    // No room to map it, say. The copy itself will tell what is wrong.
    return true
  }
}

interface Source {
  readonly file: Descriptor
  /** The same file, opened with O_DIRECT; null where it is read through the page cache. */
  readonly direct: Descriptor | null
  readonly path: string
  readonly byteLength: number
}

async function fill(memory: Descriptor, source: Source, options: SealOptions): Promise<void> {
  const { path, byteLength } = source
  const ranges = options.ranges ?? [{ begin: 0, end: byteLength }]
  for (const range of ranges) requireRange(range, path, byteLength)
  await runCopies(splitIntoJobs(joined(ranges)), options, async ({ begin, end }) => {
    // O_DIRECT reads whole blocks, and the rest of a block comes along either way.
    await copyRange(memory, source, begin - (begin % DIRECT_ALIGN), end).catch((error) => {
      throw explainCopy(error, path, byteLength)
    })
    return end - begin
  })
}

/** Ranges in order of the file, those that touch as one: no block is read twice, or left in the page cache between two. */
function joined(ranges: readonly ByteRange[]): ByteRange[] {
  const result: { begin: number; end: number }[] = []
  for (const { begin, end } of ranges.toSorted((a, b) => a.begin - b.begin)) {
    const last = result.at(-1)
    if (last !== undefined && begin <= last.end) last.end = Math.max(last.end, end)
    else result.push({ begin, end })
  }
  return result
}

/**
 * @internal Runs jobs that copy into memory, several at a time; the first failure ends them all, after those that run.
 * @param copy resolves with the bytes it copied
 */
export async function runCopies<Job>(
  jobs: Iterable<Job>,
  { signal, onProgress }: Pick<SealOptions, 'signal' | 'onProgress'>,
  copy: (job: Job) => Promise<number>,
): Promise<void> {
  const waiting = jobs[Symbol.iterator]()
  let doneBytes = 0
  let failed = false
  const work = async (): Promise<void> => {
    while (!failed) {
      try {
        const job = waiting.next()
        if (job.done) return
        signal?.throwIfAborted()
        const copied = await copy(job.value)
        doneBytes += copied // not in one line: others add to it meanwhile
        onProgress?.(doneBytes)
      } catch (error) {
        failed = true
        throw error
      }
    }
  }
  const results = await Promise.allSettled(Array.from({ length: JOBS_AT_A_TIME }, work))
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

async function copyRange(memory: Descriptor, { file, direct }: Source, begin: number, end: number): Promise<void> {
  const { fillMemory } = requireAddon()
  if (direct === null) return fillMemory(memory.handle, file.handle, begin, end, true)
  try {
    await fillMemory(memory.handle, direct.handle, begin, end, false)
  } catch (error) {
    // Some file systems take the flag and refuse the read, or ask for larger blocks than ours.
    if (systemFailure(error)?.errnoName !== 'EINVAL') throw error
    await fillMemory(memory.handle, file.handle, begin, end, true)
  }
}

/** @internal A failed copy of a file that had `byteLength` bytes, as a SharedMemoryError. */
export function explainCopy(error: unknown, path: string, byteLength: number): unknown {
  const failure = systemFailure(error)
  if (failure === null) return error
  if (failure.errnoName === 'ESTALE' && failure.actualBytes !== undefined) {
    const message = `"${path}" changed while it was copied: it ends before ${byteLength} bytes`
    const fields = { path, actualBytes: failure.actualBytes, expectedBytes: byteLength, cause: error }
    return new SharedMemoryError('FILE_CHANGED', message, fields)
  }
  return fromNative(Object.assign(error as Error, { path }), 'SEAL_FAILED', `Cannot copy "${path}" into sealed memory`)
}
