import type { Checkpoint } from '@onecopy/checkpoint'
import { ProgressBar } from '../../terminal/progress-bar.ts'
import { type MemoryReading, readMemory } from './memory-reading.ts'
import type { ReadResult } from './read-everything.ts'
import { Reader } from './reader.ts'

/** What one further process did. */
export interface ProcessResult extends ReadResult {
  readonly pid: number
  /** From starting the process until it had all weights. */
  readonly readyMs: number
  /** Of that, from asking for the checkpoint. */
  readonly attachMs: number
  /** Its memory when it had started and not asked yet. */
  readonly memoryBefore: MemoryReading
  /** Its memory when every process had read everything. */
  readonly memoryRead: MemoryReading
}

/** What all further processes did, and this process's memory at the moment when theirs was read. */
export interface ProcessesResult {
  readonly processes: readonly ProcessResult[]
  readonly memoryTogether: MemoryReading | null
}

/** Where processes attach. */
export interface AttachPoint {
  readonly socket: string
  readonly name: string
}

/**
 * Starts the processes, lets each of them attach, read every byte and multiply one matrix, all at the same time, and
 * looks at the memory of all of them at one moment.
 * @param matrix the name of the tensor to multiply, or null
 * @throws CommandError DEMO_PROCESS_FAILED
 */
export async function runProcesses(
  { socket, name }: AttachPoint,
  processCount: number,
  { byteLength }: Checkpoint,
  matrix: string | null,
): Promise<ProcessesResult> {
  const bar = new ProgressBar(`checksums of ${processCount} more`, byteLength * processCount)
  let readBytes = 0
  const onProgress = (more: number): void => {
    readBytes += more
    bar.update(readBytes)
  }
  const started = performance.now()
  const readers = Array.from({ length: processCount }, () => new Reader(socket, name, onProgress))
  try {
    const ready = await Promise.all(
      readers.map(async (reader) => {
        const { attachMs, memoryBefore } = await reader.attached()
        return { attachMs, memoryBefore, readyMs: performance.now() - started }
      }),
    )
    const results = await Promise.all(readers.map((reader) => reader.read({ matrix })))
    const memoryTogether = readMemory()
    const processes = readers.map(
      ({ pid }, at): ProcessResult => ({ pid, ...ready[at]!, ...results[at]!, memoryRead: readMemory(pid) }),
    )
    return { processes, memoryTogether }
  } finally {
    bar.end()
    for (const reader of readers) reader.end()
  }
}
