import type { Checkpoint } from '@onecopy/checkpoint'
import type { MemoryReading } from './memory-reading.ts'
import type { ReadResult } from './read-everything.ts'
import type { ProcessResult } from './run-processes.ts'
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
  /** Those that attached while the threads were alive. */
  readonly processes: readonly ProcessResult[]
  /** Why there are no processes although they were asked for. */
  readonly withoutProcesses: string | null
  /** This process's memory when all processes had read everything; null where there were none. */
  readonly memoryTogether: MemoryReading | null
  /** What the files' bytes hash to, read without the shared memory. */
  readonly fileHashes: readonly string[]
  /** What the main thread's product hashes to. */
  readonly productHash: string | null
  /** Names of the tensors whose checksums are not all the same. */
  readonly differing: readonly string[]
}

/** Whether a thread or process saw the bytes of the files and got the main thread's product. */
export function isRight(reader: ReadResult, { fileHashes, productHash }: DemoResult): boolean {
  return (
    reader.productHash === productHash &&
    reader.tensorHashes.length === fileHashes.length &&
    reader.tensorHashes.every((hash, at) => hash === fileHashes[at])
  )
}

/** Names of the tensors that one reader, or all of them, saw otherwise than they are in the files. */
export function differingTensors(
  names: readonly string[],
  fileHashes: readonly string[],
  readers: readonly ReadResult[],
): string[] {
  return names.filter((_, at) => readers.some(({ tensorHashes }) => tensorHashes[at] !== fileHashes[at]))
}

/** What this process grew by, and what copies would have taken, in bytes. */
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

/** What all processes of a demo took together, in bytes; Pss divides a shared page among those that have it. */
export interface Together {
  readonly processCount: number
  /** The sum over all processes, Node.js itself included. */
  readonly pssBytes: number
  /** That sum over the bytes of the checkpoint; null for one without bytes. */
  readonly factor: number | null
  /** What all processes grew by while they read, threads not counted: for the weights. */
  readonly weightBytes: number
  /** What a copy for each thread and each further process would have taken. */
  readonly copyBytes: number
  /** The copies' bytes less those that were used. */
  readonly savedBytes: number
}

/** Null where there are no further processes. */
export function togetherOf(result: DemoResult): Together | null {
  const { processes, threads, byteLength, memoryBefore, memoryTogether } = result
  if (memoryTogether === null) return null
  const pss = ({ pssBytes, rssBytes }: MemoryReading): number => pssBytes ?? rssBytes
  const sum = (readings: readonly MemoryReading[]): number => readings.reduce((total, each) => total + pss(each), 0)
  const pssBytes = sum([memoryTogether, ...processes.map(({ memoryRead }) => memoryRead)])
  const idleBytes = sum([memoryBefore, ...processes.map((each) => each.memoryBefore)]) + savingsOf(result).threadBytes
  const weightBytes = Math.max(0, pssBytes - idleBytes)
  const copyBytes = byteLength * (threads.length + processes.length)
  return {
    processCount: processes.length + 1,
    pssBytes,
    factor: byteLength === 0 ? null : pssBytes / byteLength,
    weightBytes,
    copyBytes,
    savedBytes: Math.max(0, copyBytes - weightBytes),
  }
}

/** A reader's result as `--json` gives it: whether the checksums were right, in place of the checksums. */
type Figures<Result extends ReadResult> = Omit<Result, 'tensorHashes' | 'productHash'> & { readonly right: boolean }

/** The result as `--json` gives it: the figures, and what the checksums came to in place of the checksums. */
export interface DemoFigures extends Omit<DemoResult, 'threads' | 'processes' | 'fileHashes' | 'productHash'> {
  readonly threads: readonly Figures<ThreadResult>[]
  readonly processes: readonly Figures<ProcessResult>[]
  readonly savings: Savings
  readonly together: Together | null
  readonly allChecksumsAgree: boolean
  readonly allProductsAgree: boolean
}

export function figuresOf(result: DemoResult): DemoFigures {
  const { threads, processes, fileHashes, productHash, ...figures } = result
  const judged = <Result extends ReadResult>(reader: Result): Figures<Result> => {
    const { tensorHashes, productHash: product, ...rest } = reader
    return { ...rest, right: isRight(reader, result) }
  }
  return {
    ...figures,
    threads: threads.map(judged),
    processes: processes.map(judged),
    savings: savingsOf(result),
    together: togetherOf(result),
    allChecksumsAgree: result.differing.length === 0,
    allProductsAgree: [...threads, ...processes].every((reader) => reader.productHash === productHash),
  }
}
