import { ADVICE, type Advice, fromNative, requireAddon, systemFailure } from './addon.ts'
import { SharedMemoryError } from './errors.ts'
import type { ByteRange, FileMapping } from './mapping.ts'

/** What one job on the thread pool brings in: small enough to abort and to report progress, large enough for the disk. */
const JOB_BYTES = 32 * 2 ** 20

/** Jobs at a time. libuv's pool has 4 threads by default, and the program's own file reads need some of them. */
const JOBS_AT_A_TIME = 2

/** Options of everything that brings pages into RAM. */
export interface PopulateOptions {
  /** Called after every job with the bytes done so far and the bytes in all. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void
  /** Stops between two jobs; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal
  /** @internal Which way to take, for tests; the default is the best that the kernel has. */
  readonly method?: 'populate' | 'read'
}

/** Bytes of the range that are in RAM now, counted by page; null where the kernel does not tell. */
export function residentBytes(mapping: FileMapping, range?: ByteRange): number | null {
  const { begin, end } = range ?? { begin: 0, end: mapping.byteLength }
  const handle = mapping.handle({ begin, end })
  if (!mapping.residencyVisible) return null
  try {
    return requireAddon().residentBytes(handle, begin, end)
  } catch (error) {
    throw fromNative(error, 'RESIDENCY_FAILED', `Cannot tell what of "${mapping.path}" is in RAM`)
  }
}

/** Asks the kernel to read the ranges ahead; resolves when it has been asked, not when the pages are there. */
export async function prefetch(mapping: FileMapping, ranges?: readonly ByteRange[]): Promise<void> {
  await advise(mapping, ranges, ADVICE.readAhead, {})
}

/**
 * Brings the ranges into RAM and resolves when they are there, without blocking the event loop. Uses MADV_POPULATE_READ
 * (Linux 5.14), which also fills this process's page tables; older kernels get plain reads into the page cache.
 * @throws SharedMemoryError MAPPING_CLOSED, RANGE_OUT_OF_BOUNDS, RESIDENCY_FAILED (for example a file that was cut)
 */
export async function populate(
  mapping: FileMapping,
  ranges?: readonly ByteRange[],
  options: PopulateOptions = {},
): Promise<void> {
  const method = options.method ?? (requireAddon().memoryLimits().populateRead ? 'populate' : 'read')
  await advise(mapping, ranges, method === 'populate' ? ADVICE.populate : ADVICE.read, options)
}

/**
 * Brings the ranges into RAM and keeps them there (mlock) until `unlock` or the mapping's end. All or nothing: what this
 * call locked before a failure or an abort is unlocked again. Locks do not count: one `unlock` undoes them all.
 * @throws SharedMemoryError LOCK_LIMIT naming the process's limit, LOCK_REFUSED, RESIDENCY_FAILED
 */
export async function lock(
  mapping: FileMapping,
  ranges?: readonly ByteRange[],
  options: PopulateOptions = {},
): Promise<void> {
  const begun: ByteRange[] = []
  try {
    await advise(mapping, ranges, ADVICE.lock, options, begun)
  } catch (error) {
    // A mapping that was closed meanwhile takes its locks along.
    if (!mapping.closed) await advise(mapping, begun, ADVICE.unlock, {})
    const failure = systemFailure((error as { cause?: unknown }).cause)
    if (failure?.syscall !== 'mlock') throw error
    const limit = requireAddon().memoryLimits().lockLimitBytes
    const wanted = (ranges ?? [{ begin: 0, end: mapping.byteLength }]).reduce(
      (sum, { begin, end }) => sum + end - begin,
      0,
    )
    // The kernel itself says EPERM only where nothing may be locked at all.
    if (failure.errnoName === 'ENOSYS' || (failure.errnoName === 'EPERM' && limit !== 0)) {
      const message = `Cannot lock ${wanted} bytes of "${mapping.path}" in RAM: a policy of this container or service refuses mlock (${failure.errnoName}), whatever RLIMIT_MEMLOCK allows; allow it in its seccomp profile or SystemCallFilter=`
      throw new SharedMemoryError('LOCK_REFUSED', message, { path: mapping.path, expectedBytes: wanted, cause: error })
    }
    if (!['ENOMEM', 'EPERM', 'EAGAIN'].includes(failure.errnoName)) throw error
    const message = `Cannot lock ${wanted} bytes of "${mapping.path}" in RAM: this process may lock ${limit ?? 'no more'} bytes (RLIMIT_MEMLOCK); raise it with ulimit -l or LimitMEMLOCK=, or give CAP_IPC_LOCK`
    const fields = { path: mapping.path, expectedBytes: wanted, cause: error }
    throw new SharedMemoryError('LOCK_LIMIT', message, limit === null ? fields : { ...fields, actualBytes: limit })
  }
}

/** Takes back what `lock` did. */
export async function unlock(mapping: FileMapping, ranges?: readonly ByteRange[]): Promise<void> {
  await advise(mapping, ranges, ADVICE.unlock, {})
}

/**
 * Asks the kernel to drop the file's pages from RAM, for measuring cold starts. Advice, not an order: pages that another
 * process has mapped, or that are locked or dirty, stay. `residentBytes` tells what came of it.
 */
export function evict(mapping: FileMapping): void {
  const handle = mapping.handle()
  try {
    requireAddon().evictMapping(handle)
  } catch (error) {
    throw fromNative(error, 'RESIDENCY_FAILED', `Cannot evict "${mapping.path}"`)
  }
}

/** @param begun receives every job that was begun, and may therefore have done something */
async function advise(
  mapping: FileMapping,
  ranges: readonly ByteRange[] | undefined,
  advice: Advice,
  options: PopulateOptions,
  begun: ByteRange[] = [],
): Promise<void> {
  const wanted = ranges ?? [{ begin: 0, end: mapping.byteLength }]
  let total = 0
  for (const range of wanted) {
    mapping.handle(range)
    total += range.end - range.begin
  }
  options.signal?.throwIfAborted()
  const jobs = splitIntoJobs(wanted)
  let done = 0
  let failed = false
  const work = async (): Promise<void> => {
    for (let job = jobs.next(); !job.done && !failed; job = jobs.next()) {
      try {
        options.signal?.throwIfAborted()
        await adviseOne(mapping, job.value, advice, begun)
        done += job.value.end - job.value.begin
        options.onProgress?.(done, total)
      } catch (error) {
        failed = true
        throw error
      }
    }
  }
  const results = await Promise.allSettled(Array.from({ length: JOBS_AT_A_TIME }, work))
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

async function adviseOne(mapping: FileMapping, job: Job, advice: Advice, begun: ByteRange[]): Promise<void> {
  const handle = mapping.handle(job)
  begun.push(job)
  try {
    await requireAddon().adviseRange(handle, job.begin, job.end, advice, job.limit)
  } catch (error) {
    const what = `Cannot bring bytes [${job.begin}, ${job.end}) of "${mapping.path}" into RAM`
    throw fromNative(error, 'RESIDENCY_FAILED', what)
  }
}

/** A piece of a range; `limit` is the end of the whole range, beyond which nothing may be read. */
interface Job extends ByteRange {
  readonly limit: number
}

/** @internal Ranges in pieces of a job's size, cut at its multiples: a cut elsewhere would go through a huge page. */
export function* splitIntoJobs(ranges: readonly ByteRange[]): Generator<Job, undefined> {
  for (const { begin, end } of ranges) {
    for (let at = begin, next = begin; at < end; at = next) {
      next = Math.min(at - (at % JOB_BYTES) + JOB_BYTES, end)
      yield { begin: at, end: next, limit: end }
    }
  }
}
