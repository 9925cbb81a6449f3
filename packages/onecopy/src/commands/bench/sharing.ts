import { errorCode } from '../../terminal/error-message.ts'
import { ProgressBar } from '../../terminal/progress-bar.ts'
import { readMemory } from '../demo/memory-reading.ts'
import { tooLittleMemory } from './available-memory.ts'
import type { BenchCoordinator } from './bench-coordinator.ts'
import type { ColdStartTask } from './cold-start-trial.ts'
import { figureOf } from './figures.ts'
import type { Program } from './programs.ts'
import type { ReaderTask } from './reader-process.ts'
import type { SharingResult, SharingRow } from './result.ts'
import type { Setting } from './setting.ts'

/** Memory is the same each time, so more trials only take longer. */
const MAX_TRIALS = 3

/** What a reading process takes beside the weights. */
const PROCESS_BYTES = 100 * 2 ** 20

/** Readers of one kind, and what they read. */
type Crew = Pick<SharingRow, 'kind' | 'readers' | 'weights'>

/** What was counted once. */
interface Count {
  readonly processCount: number
  readonly idleBytes: number
  readonly pssBytes: number
}

/** What readers take that have touched everything: of one copy, and of a copy each. */
export async function measureSharing(setting: Setting, coordinator: BenchCoordinator): Promise<SharingResult> {
  const trials = Math.min(setting.trials, MAX_TRIALS)
  const crews = crewsOf(setting.readers)
  const { byteLength } = setting.subject.checkpoint
  const bar = new ProgressBar('sharing', byteLength * trials * crews.reduce((sum, { readers }) => sum + readers, 0))
  try {
    if (tooLittleMemory(byteLength) === null) await bringIn(setting)
    const counts = crews.map((): Count[] => [])
    const reasons = crews.map((crew) => tooLittleMemory(neededBytes(crew, byteLength)))
    let doneBytes = 0
    for (let trial = 0; trial < trials; trial++) {
      for (const [at, crew] of crews.entries()) {
        if (reasons[at] === null) {
          const counted = await count(crew, coordinator, setting)
          if ('reason' in counted) reasons[at] = counted.reason
          else counts[at]!.push(counted)
        }
        doneBytes += byteLength * crew.readers
        bar.update(doneBytes)
      }
    }
    return { rows: crews.map((crew, at) => rowOf(crew, counts[at]!, reasons[at]!, byteLength)) }
  } finally {
    bar.end()
  }
}

/** 1, 2, 4 and so on readers, and the most; with one copy and with a copy each in turns. */
function crewsOf(mostReaders: number): Crew[] {
  const sizes: number[] = []
  for (let size = 1; size < mostReaders; size *= 2) sizes.push(size)
  sizes.push(mostReaders)
  return (['threads', 'processes'] as const).flatMap((kind) =>
    sizes.flatMap((readers) => (['shared', 'a copy each'] as const).map((weights) => ({ kind, readers, weights }))),
  )
}

function neededBytes({ kind, readers, weights }: Crew, byteLength: number): number {
  const processes = kind === 'threads' ? 1 : readers
  return byteLength * (weights === 'shared' ? 1 : readers) + processes * PROCESS_BYTES
}

/**
 * Into the page cache, by a process that has gone before anything is counted: this one would be one more that has the
 * pages, and would take its part of them.
 */
async function bringIn({ programs, subject }: Setting): Promise<void> {
  const { source, selection, firstTensor } = subject
  const task: ColdStartTask = { way: 'populate', source, selection, firstTensor: firstTensor.name, firstOnly: true }
  await programs.run('cold-start-process', task)
}

async function count(
  { kind, readers, weights }: Crew,
  coordinator: BenchCoordinator,
  { programs, subject }: Setting,
): Promise<Count | { readonly reason: string }> {
  const { source, shards, checkpoint } = subject
  const threads = kind === 'threads' ? readers : 0
  const task: ReaderTask = { weights, threads, source, shards, tensorCount: checkpoint.tensorCount }
  const running: Program[] = []
  try {
    for (let process = 0; process < (kind === 'threads' ? 1 : readers); process++) {
      running.push(programs.start('reader-process', task, coordinator.env))
    }
    await Promise.all(running.map((program) => program.answer()))
    const pids = running.map(({ pid }) => pid)
    if (kind === 'processes' && weights === 'shared') pids.push(coordinator.pid)
    const idleBytes = sumOfPss(pids)
    await Promise.all(running.map((program) => program.ask('read')))
    return { processCount: pids.length, idleBytes, pssBytes: sumOfPss(pids) }
  } catch (error) {
    if (errorCode(error) !== 'PROCESS_MEMORY_UNREADABLE') throw error
    return { reason: (error as Error).message }
  } finally {
    await Promise.all(running.map((program) => program.end()))
  }
}

function sumOfPss(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + readMemory(pid).pssBytes!, 0)
}

function rowOf(crew: Crew, counts: readonly Count[], reason: string | null, byteLength: number): SharingRow {
  if (counts.length === 0) {
    const none = { processCount: null, pssBytes: null, idleBytes: null, weightBytes: null, factor: null }
    return { ...crew, notMeasured: reason, ...none }
  }
  const weightBytes = figureOf(
    'bytes',
    counts.map(({ pssBytes, idleBytes }) => pssBytes - idleBytes),
  )
  return {
    ...crew,
    notMeasured: null,
    processCount: counts[0]!.processCount,
    pssBytes: figureOf(
      'bytes',
      counts.map(({ pssBytes }) => pssBytes),
    ),
    idleBytes: figureOf(
      'bytes',
      counts.map(({ idleBytes }) => idleBytes),
    ),
    weightBytes,
    factor: weightBytes.median / byteLength,
  }
}
