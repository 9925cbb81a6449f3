import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { type CheckpointShare, openCheckpoint } from '@onecopy/checkpoint'
import { answer, readTask } from './program.ts'

/** How often a thread is started, and on what. */
export interface AttachThreadsTask {
  readonly source: string | readonly string[]
  readonly rounds: number
}

/** Milliseconds from starting a thread until its first own line, or until it had looked a tensor up; in turns. */
export interface AttachThreadsTrial {
  readonly bare: readonly number[]
  readonly weights: readonly number[]
}

/** What a thread says: when it was ready, on the clock of all. */
export interface ThreadReady {
  readonly atNs: bigint
}

const WARM_UPS = 2

await answer(async (): Promise<AttachThreadsTrial> => {
  const { source, rounds } = readTask<AttachThreadsTask>()
  using checkpoint = await openCheckpoint(source)
  const samples: { bare: number[]; weights: number[] } = { bare: [], weights: [] }
  const starts = [
    { times: samples.bare, program: 'bare-thread', share: null },
    { times: samples.weights, program: 'weights-thread', share: checkpoint.share() },
  ]
  for (let round = -WARM_UPS; round < rounds; round++) {
    for (const { times, program, share } of round % 2 === 0 ? starts : starts.toReversed()) {
      const milliseconds = await startThread(program, share)
      if (round >= 0) times.push(milliseconds)
    }
  }
  return samples
})

async function startThread(program: string, share: CheckpointShare | null): Promise<number> {
  const file = new URL(`./${program}.js`, import.meta.url)
  const started = process.hrtime.bigint()
  const worker = new Worker(file, { workerData: share })
  const exited = once(worker, 'exit')
  const [{ atNs }] = (await once(worker, 'message')) as [ThreadReady]
  await exited
  return Number(atNs - started) / 1e6
}
