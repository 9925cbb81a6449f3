import { processMemory } from '@onecopy/sharedarraybuffer-utils'
import { errorCode } from '../../terminal/error-message.ts'

/** What a process occupies in RAM at one moment. */
export interface MemoryReading {
  readonly rssBytes: number
  /** Shared pages divided among the processes that have them; null where the system does not tell. */
  readonly pssBytes: number | null
  /** Pages that belong to no file: heaps, stacks and private copies; null where the system does not tell. */
  readonly anonymousBytes: number | null
}

/**
 * Reads it now.
 * @param pid another process of this user, on Linux. @default this process
 */
export function readMemory(pid?: number): MemoryReading {
  try {
    const { rssBytes, pssBytes, anonymousBytes } = processMemory(pid)
    return { rssBytes, pssBytes, anonymousBytes }
  } catch (error) {
    if (errorCode(error) !== 'PROCESS_MEMORY_UNREADABLE' || pid !== undefined) throw error
    return { rssBytes: process.memoryUsage.rss(), pssBytes: null, anonymousBytes: null }
  }
}
