import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** What is left for everything else, as a share of the memory, and at least and at most so many bytes. */
const MARGIN_SHARE = 0.05
const MIN_MARGIN_BYTES = 128 * 2 ** 20
const MAX_MARGIN_BYTES = 2 * 2 ** 30

/** Control groups of version 1 say "no limit" with a number near 2^63. */
const UNLIMITED_BYTES = 2 ** 60

/** How much memory may be taken for good. */
export interface MemoryLimit {
  /** In all, a margin already taken off. */
  readonly byteLength: number
  /** What sets it, for people. */
  readonly from: string
  /** What is free now, or can be had by dropping files from the page cache, the margin taken off; may be negative. */
  available(): number
}

/** Something that limits memory: the machine, or one of the control groups that this process is in. */
interface Limiter {
  readonly from: string
  readonly totalBytes: number
  /** Null when it can no longer be read. */
  readonly freeBytes: () => number | null
}

/**
 * What this machine and the control groups of this process (both versions, however deep) allow; null where /proc tells nothing.
 * @param proc the folder of this process and the machine
 * @param groups where control groups are mounted
 */
export function memoryLimit(proc = '/proc', groups = '/sys/fs/cgroup'): MemoryLimit | null {
  const limiters = [...controlGroups(proc, groups)]
  const totalBytes = kibibytes(proc, 'MemTotal')
  if (totalBytes !== null) {
    limiters.push({ from: "the machine's memory", totalBytes, freeBytes: () => kibibytes(proc, 'MemAvailable') })
  }
  if (limiters.length === 0) return null
  const tightest = limiters.reduce((a, b) => (b.totalBytes < a.totalBytes ? b : a))
  return {
    byteLength: Math.max(0, tightest.totalBytes - marginOf(tightest)),
    from: tightest.from,
    available: () =>
      Math.min(...limiters.map((limiter) => (limiter.freeBytes() ?? Number.POSITIVE_INFINITY) - marginOf(limiter))),
  }
}

function marginOf({ totalBytes }: Limiter): number {
  return Math.round(Math.min(Math.max(totalBytes * MARGIN_SHARE, MIN_MARGIN_BYTES), MAX_MARGIN_BYTES))
}

function* controlGroups(proc: string, groups: string): Generator<Limiter, void> {
  for (const line of (read(join(proc, 'self/cgroup')) ?? '').split('\n')) {
    const [, id, controllers, path] = /^(\d+):([^:]*):(\/.*)$/.exec(line) ?? []
    if (path === undefined) continue
    if (id === '0') yield* limitersFrom(groups, path, VERSION_2)
    else if (controllers!.split(',').includes('memory')) yield* limitersFrom(join(groups, 'memory'), path, VERSION_1)
  }
}

const VERSION_2 = { limit: 'memory.max', usage: 'memory.current', cache: ['inactive_file', 'active_file'] }
const VERSION_1 = {
  limit: 'memory.limit_in_bytes',
  usage: 'memory.usage_in_bytes',
  cache: ['total_inactive_file', 'total_active_file'],
}

/** From a group up to the root: each may have a limit. In a container, the path may be one that cannot be seen from within. */
function* limitersFrom(root: string, path: string, files: typeof VERSION_2): Generator<Limiter, void> {
  for (let at = path; ; at = dirname(at)) {
    const folder = join(root, at)
    const totalBytes = wholeNumber(read(join(folder, files.limit)))
    if (totalBytes !== null && totalBytes < UNLIMITED_BYTES) {
      yield { from: `${files.limit} of ${folder}`, totalBytes, freeBytes: () => freeBytes(folder, totalBytes, files) }
    }
    if (at === '/') return
  }
}

function freeBytes(folder: string, totalBytes: number, { usage, cache }: typeof VERSION_2): number | null {
  const usedBytes = wholeNumber(read(join(folder, usage)))
  if (usedBytes === null) return null
  const stat = read(join(folder, 'memory.stat')) ?? ''
  const cacheBytes = cache.reduce(
    (sum, key) => sum + Number(new RegExp(`^${key} (\\d+)$`, 'm').exec(stat)?.[1] ?? 0),
    0,
  )
  return totalBytes - usedBytes + cacheBytes
}

function kibibytes(proc: string, key: string): number | null {
  const found = new RegExp(`^${key}: +(\\d+) kB$`, 'm').exec(read(join(proc, 'meminfo')) ?? '')?.[1]
  return found === undefined ? null : Number(found) * 1024
}

function wholeNumber(text: string | null): number | null {
  return text !== null && /^\d+\n?$/.test(text) ? Number(text) : null
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}
