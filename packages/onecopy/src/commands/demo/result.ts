import type { Checkpoint } from '@onecopy/checkpoint'
import type { MemoryReading } from './memory-reading.ts'
import type { ThreadResult } from './run-threads.ts'

/** Everything that a demo found out. */
export interface DemoResult {
  readonly label: string
  readonly origin: 'given' | 'generated' | 'generated and kept'
  readonly backing: Checkpoint['backing']
  readonly shardCount: number
  readonly tensorCount: number
  readonly parameterCount: number
  readonly byteLength: number
  /** Null for a checkpoint that was given. */
  readonly generateMs: number | null
  readonly openMs: number
  /** What was in RAM when it was opened; null where the kernel does not tell. */
  readonly residentBytes: number | null
  /** Bringing the rest into RAM; null where it was there, or has no room. */
  readonly prefetchMs: number | null
  readonly matrix: { readonly name: string; readonly dtype: string; readonly shape: readonly number[] } | null
  readonly memoryBefore: MemoryReading
  readonly memoryOpened: MemoryReading
  readonly memoryReady: MemoryReading
  readonly memoryRead: MemoryReading
  readonly threads: readonly ThreadResult[]
  /** What the files' bytes hash to, read without the shared memory. */
  readonly fileHashes: readonly string[]
  /** What the main thread's product hashes to. */
  readonly productHash: string | null
  /** Names of the tensors whose checksums are not all the same. */
  readonly differing: readonly string[]
}

/** Whether a thread saw the bytes of the files and got the main thread's product. */
export function isRight(thread: ThreadResult, { fileHashes, productHash }: DemoResult): boolean {
  return (
    thread.productHash === productHash &&
    thread.tensorHashes.length === fileHashes.length &&
    thread.tensorHashes.every((hash, at) => hash === fileHashes[at])
  )
}

/** Names of the tensors that a thread, or all of them, saw otherwise than they are in the files. */
export function differingTensors(
  names: readonly string[],
  fileHashes: readonly string[],
  threads: readonly ThreadResult[],
): string[] {
  return names.filter((_, at) => threads.some(({ tensorHashes }) => tensorHashes[at] !== fileHashes[at]))
}

/** What the process grew by, and what copies would have taken, in bytes. */
export interface Savings {
  /** For the weights: while they were opened and while they were read. */
  readonly weightBytes: number
  /** For the threads themselves, which any pool of threads takes. */
  readonly threadBytes: number
  /** What a copy for each thread would have taken. */
  readonly copyBytes: number
  /** The copies' bytes less those that were used. */
  readonly savedBytes: number
}

/** Counts resident pages (Rss): a copy in any thread would show up there. */
export function savingsOf(result: DemoResult): Savings {
  const { memoryBefore, memoryOpened, memoryReady, memoryRead, byteLength, threads } = result
  const opened = memoryOpened.rssBytes - memoryBefore.rssBytes
  const read = memoryRead.rssBytes - memoryReady.rssBytes
  const weightBytes = Math.max(0, opened + read)
  const copyBytes = byteLength * threads.length
  return {
    weightBytes,
    threadBytes: Math.max(0, memoryReady.rssBytes - memoryOpened.rssBytes),
    copyBytes,
    savedBytes: Math.max(0, copyBytes - weightBytes),
  }
}

/** The result as `--json` gives it: the figures, and what the checksums came to in place of the checksums. */
export interface DemoFigures extends Omit<DemoResult, 'threads' | 'fileHashes' | 'productHash'> {
  readonly threads: readonly (Omit<ThreadResult, 'tensorHashes' | 'productHash'> & { readonly right: boolean })[]
  readonly savings: Savings
  readonly allChecksumsAgree: boolean
  readonly allProductsAgree: boolean
}

export function figuresOf(result: DemoResult): DemoFigures {
  const { threads, fileHashes, productHash, ...figures } = result
  return {
    ...figures,
    threads: threads.map((thread) => {
      const { threadId, readyMs, checksumMs, productMs } = thread
      return { threadId, readyMs, checksumMs, productMs, right: isRight(thread, result) }
    }),
    savings: savingsOf(result),
    allChecksumsAgree: result.differing.length === 0,
    allProductsAgree: threads.every((thread) => thread.productHash === productHash),
  }
}
