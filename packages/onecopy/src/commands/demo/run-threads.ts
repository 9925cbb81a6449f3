import type { Checkpoint } from '@onecopy/checkpoint'
import { createWorkerPool } from '@onecopy/client'
import { CommandError } from '../../errors.ts'
import { ProgressBar } from '../../terminal/progress-bar.ts'
import { type MemoryReading, readMemory } from './memory-reading.ts'
import type { ReadResult } from './read-everything.ts'
import type { DemoAnswer, DemoTask, DemoWorkerData } from './task.ts'

const ROUNDS = 3
const PROGRESS_MS = 100

/** What one thread did. */
export interface ThreadResult extends ReadResult {
  readonly threadId: number
  /** From asking for the pool until the thread had all weights. */
  readonly readyMs: number
}

/** What all threads did, and this process's memory when they were ready and when they had read everything. */
export interface ThreadsResult<Meanwhile> {
  readonly threads: readonly ThreadResult[]
  readonly memoryReady: MemoryReading
  readonly memoryRead: MemoryReading
  readonly meanwhile: Meanwhile
}

/**
 * Starts the threads and lets each of them read every byte and multiply one matrix, all at the same time.
 * @param matrix the name of the tensor to multiply, or null
 * @param meanwhile is awaited before the threads end, when they have read everything
 */
export async function runThreads<Meanwhile>(
  checkpoint: Checkpoint,
  threadCount: number,
  matrix: string | null,
  meanwhile: () => Promise<Meanwhile>,
): Promise<ThreadsResult<Meanwhile>> {
  const shared: DemoWorkerData = {
    threadCount,
    arrivals: new Int32Array(new SharedArrayBuffer(ROUNDS * Int32Array.BYTES_PER_ELEMENT)),
    hashedBytes: new BigInt64Array(new SharedArrayBuffer(BigInt64Array.BYTES_PER_ELEMENT)),
  }
  const asked = process.hrtime.bigint()
  const pool = await createWorkerPool<DemoTask, DemoAnswer>({
    checkpoint,
    filename: new URL('./task.js', import.meta.url),
    workerData: { ...shared },
    minThreads: threadCount,
    maxThreads: threadCount,
    concurrentTasksPerWorker: 1,
  })
  const everyThread = async (task: DemoTask): Promise<ReadonlyMap<number, DemoAnswer>> => {
    const answers = await Promise.all(Array.from({ length: threadCount }, () => pool.run(task)))
    const byThread = new Map(answers.map((answer) => [answer.threadId, answer]))
    if (byThread.size === threadCount) return byThread
    const message = `${byThread.size} of ${threadCount} threads did the task "${task.type}"`
    throw new CommandError('DEMO_THREADS_MISSING', message)
  }
  try {
    const ready = await everyThread({ round: 0, type: 'ready' })
    const memoryReady = readMemory()
    const checksums = await withBar(shared.hashedBytes, checkpoint.byteLength * threadCount, () =>
      everyThread({ round: 1, type: 'checksums' }),
    )
    const products = matrix === null ? null : await everyThread({ round: 2, type: 'product', matrix })
    const memoryRead = readMemory()
    const threads = [...ready.values()].map(({ threadId, readyAt }): ThreadResult => {
      const checksum = checksums.get(threadId)!
      const product = products?.get(threadId) ?? null
      return {
        threadId,
        readyMs: Number(readyAt - asked) / 1e6,
        checksumMs: checksum.milliseconds,
        productMs: product?.milliseconds ?? null,
        tensorHashes: checksum.hashes,
        productHash: product?.hashes[0] ?? null,
      }
    })
    threads.sort((a, b) => a.threadId - b.threadId)
    return { threads, memoryReady, memoryRead, meanwhile: await meanwhile() }
  } finally {
    await pool.destroy()
  }
}

async function withBar<T>(
  done: BigInt64Array<SharedArrayBuffer>,
  totalBytes: number,
  work: () => Promise<T>,
): Promise<T> {
  const bar = new ProgressBar('checksums', totalBytes)
  const timer = setInterval(() => bar.update(Number(Atomics.load(done, 0))), PROGRESS_MS)
  try {
    return await work()
  } finally {
    clearInterval(timer)
    bar.end()
  }
}
