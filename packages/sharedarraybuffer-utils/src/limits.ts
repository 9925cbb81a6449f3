import { readFileSync } from 'node:fs'
import type { MemoryLimits, SystemFailure } from './addon.ts'

/** Mappings that a process has beside those that failed: one more or less does not make the limit another. */
const SPARE_MAPPINGS = 64

/** Where ENOMEM means that there is no room for a mapping, and not only no memory. */
const OF_ADDRESS_SPACE: ReadonlySet<string> = new Set(['mmap', 'mremap', 'mprotect'])

/** See `limitBehind`. */
export function limitText(
  { errnoName, syscall }: Pick<SystemFailure, 'errnoName' | 'syscall'>,
  limits: () => Pick<MemoryLimits, 'addressSpaceLimitBytes' | 'descriptorLimit'> | null,
  neededFiles?: number,
): string | null {
  switch (errnoName) {
    case 'EMFILE': {
      const limit = limits()?.descriptorLimit
      const found = limit === undefined ? 'no more files open' : `${limit} files open at a time`
      const needed = neededFiles === undefined ? '' : `, and needs ${neededFiles} and those that it has open already`
      return `this process may have ${found}${needed}; raise that with ulimit -n, or LimitNOFILE= of its service`
    }
    case 'ENFILE': {
      const found = readNumber('/proc/sys/fs/file-max')
      const most = found === null ? 'as many files open as it may' : `${found} files open, the most that it may`
      return `this machine has ${most}; raise that with sysctl fs.file-max (ulimit -n is not what stops it)`
    }
    case 'ENOMEM':
      return OF_ADDRESS_SPACE.has(syscall) ? spaceText(limits()?.addressSpaceLimitBytes ?? null) : memoryText()
    case 'EAGAIN':
      if (syscall !== 'pthread_create') return null
      return 'this user, or this cgroup, may have no more threads; raise that with ulimit -u, or TasksMax= of its service (pids.max)'
    default:
      return null
  }
}

function spaceText(addressSpaceLimitBytes: number | null): string {
  const most = readNumber('/proc/sys/vm/max_map_count')
  const has = countLines('/proc/self/maps')
  if (most !== null && has !== null && has + SPARE_MAPPINGS >= most) {
    return `this process has ${has} mappings, of at most ${most}; raise that with sysctl vm.max_map_count`
  }
  if (addressSpaceLimitBytes !== null) {
    return `not enough address space: RLIMIT_AS is ${addressSpaceLimitBytes} bytes (ulimit -v)`
  }
  return `not enough address space; ${memoryText()}`
}

function memoryText(): string {
  const most = process.constrainedMemory()
  // Without a limit, cgroups say 2^63 or 2^64 less a page.
  if (most === undefined || most === 0 || most > Number.MAX_SAFE_INTEGER) return 'the machine has no more memory'
  return `the machine has no more memory, or this process's cgroup may have no more than ${most} bytes (memory.max)`
}

function readNumber(path: string): number | null {
  try {
    const value = Number(readFileSync(path, 'utf8'))
    return Number.isSafeInteger(value) ? value : null
  } catch {
    return null // no /proc, or no descriptor to read it with
  }
}

function countLines(path: string): number | null {
  try {
    return readFileSync(path, 'latin1').split('\n').length - 1
  } catch {
    return null
  }
}
