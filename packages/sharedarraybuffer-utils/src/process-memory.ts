import { readFileSync } from 'node:fs'
import { addon } from './addon.ts'
import { SharedMemoryError } from './errors.ts'
import type { FileMapping } from './mapping.ts'

/** What a process, or one mapping of it, occupies in RAM, in bytes, as Linux's smaps counts. */
export interface ProcessMemory {
  /** Resident set: every page that stands in the page tables, shared ones in full. */
  readonly rssBytes: number
  /** Proportional set: each page divided by the number of processes that map it; sums over processes without error. */
  readonly pssBytes: number
  /** Of the resident pages, those that other processes map too. */
  readonly sharedBytes: number
  /** Of the resident pages, those that are this process's alone. */
  readonly privateBytes: number
  /** Of the resident pages, those that no file stands behind: heaps, stacks, private copies. */
  readonly anonymousBytes: number
  /** Pages locked in RAM. */
  readonly lockedBytes: number
}

/**
 * What a process occupies in RAM, from `/proc/<pid>/smaps_rollup`.
 * @param pid another process of the same user. @default this process
 * @throws SharedMemoryError PROCESS_MEMORY_UNREADABLE off Linux, for a process that has ended or is another user's
 */
export function processMemory(pid?: number): ProcessMemory {
  return sumFields(readProc(`/proc/${pid ?? 'self'}/smaps_rollup`))
}

/** What one mapping of this process occupies in RAM, from `/proc/self/smaps`; all zero once it is unmapped. */
export function mappingMemory(mapping: FileMapping): ProcessMemory {
  // What is unmapped may have left its addresses to something else.
  if (addon === null || !addon.isMapped(mapping.id)) return sumFields('')
  const begin = mapping.address
  const end = begin + BigInt(mapping.byteLength)
  let inside = false
  const own = []
  for (const line of readProc('/proc/self/smaps').split('\n')) {
    const header = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line)
    if (header !== null) inside = BigInt(`0x${header[1]}`) < end && BigInt(`0x${header[2]}`) > begin
    else if (inside) own.push(line)
  }
  return sumFields(own.join('\n'))
}

function readProc(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    const message = `Cannot read "${path}": ${cause instanceof Error ? cause.message : cause}`
    throw new SharedMemoryError('PROCESS_MEMORY_UNREADABLE', message, { path, cause })
  }
}

function sumFields(smaps: string): ProcessMemory {
  const sums = new Map<string, number>()
  for (const [, name, kib] of smaps.matchAll(/^(\w+): +(\d+) kB$/gm)) {
    sums.set(name!, (sums.get(name!) ?? 0) + Number(kib) * 1024)
  }
  const sum = (...names: string[]): number => names.reduce((total, name) => total + (sums.get(name) ?? 0), 0)
  return {
    rssBytes: sum('Rss'),
    pssBytes: sum('Pss'),
    sharedBytes: sum('Shared_Clean', 'Shared_Dirty'),
    privateBytes: sum('Private_Clean', 'Private_Dirty'),
    anonymousBytes: sum('Anonymous'),
    lockedBytes: sum('Locked'),
  }
}
