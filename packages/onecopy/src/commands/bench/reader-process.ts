import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { openCheckpoint } from '@onecopy/checkpoint'
import { attach } from '@onecopy/client'
import { readCopy } from './plain-read.ts'
import { answer, answerQuestions, readTask } from './program.ts'
import type { ReaderThreadData } from './reader-thread.ts'
import type { PlainShard } from './subject.ts'
import { touchTensors } from './touch-pages.ts'

/** A process whose memory is looked at before and after it has read everything. */
export interface ReaderTask {
  readonly weights: 'shared' | 'a copy each'
  /** Threads that read; without them it reads itself, and attaches for it. */
  readonly threads: number
  readonly source: string | readonly string[]
  /** How many tensors are touched, of the first ones. */
  readonly tensorCount: number
  /** What is read for a copy. */
  readonly shards: readonly PlainShard[]
}

const { weights, threads, source, tensorCount, shards } = readTask<ReaderTask>()
const copied = weights === 'a copy each'
const workers: Worker[] = []
/** Stays in memory until it was counted. */
const held: unknown[] = []

await answer(async () => {
  if (threads === 0) return
  const checkpoint = copied ? null : await openCheckpoint(source)
  held.push(checkpoint)
  const workerData: ReaderThreadData = { share: checkpoint?.share() ?? null, tensorCount, shards }
  for (let thread = 0; thread < threads; thread++) {
    workers.push(new Worker(new URL('./reader-thread.js', import.meta.url), { workerData }))
  }
  await Promise.all(workers.map((worker) => once(worker, 'message')))
})

answerQuestions(async () => {
  if (threads > 0) {
    await Promise.all(
      workers.map((worker) => {
        const read = once(worker, 'message')
        worker.postMessage('read')
        return read
      }),
    )
  } else if (copied) held.push(await readCopy(shards))
  else {
    // The socket and the name come from the environment.
    const checkpoint = await attach()
    touchTensors(checkpoint, tensorCount)
    held.push(checkpoint)
  }
})
