import { ProgressBar } from '../../terminal/progress-bar.ts'
import { tooLittleMemory } from './available-memory.ts'
import { comparedRows, type MeasuredTrial, rowOf } from './cold-start-rows.ts'
import type { ColdStartTask, ColdStartTrial, PlainTask } from './cold-start-trial.ts'
import { type ColdStartWay, WAYS } from './cold-start-ways.ts'
import { makeCold, writeBack } from './make-cold.ts'
import type { ColdStartResult } from './result.ts'
import type { Setting } from './setting.ts'

/** A way, and what became of its trials. */
interface Contender {
  readonly way: ColdStartWay
  readonly trials: MeasuredTrial[]
  readonly firstOnly: boolean
  /** Why it has no trial any more. */
  stopped: string | null
}

/**
 * Rounds in which each way has one trial, in a process of its own, with nothing of the checkpoint in RAM. The order is
 * another one in each round, so that what disturbs the machine disturbs all.
 */
export async function measureColdStart(setting: Setting): Promise<ColdStartResult> {
  const { subject, trials } = setting
  const { byteLength } = subject.checkpoint
  await writeBack(subject)
  const tooLarge = tooLittleMemory(byteLength)
  const contenders = WAYS.map((way): Contender => {
    // The kernel takes pages back that it can read again, so a part can be measured of those.
    const firstOnly = tooLarge !== null && way.partly
    const stopped = firstOnly ? null : (tooLarge ?? way.impossible(subject))
    return { way, trials: [], firstOnly, stopped }
  })
  const bar = new ProgressBar('cold start', byteLength * contenders.length * trials)
  try {
    await warmUp(setting)
    for (let round = 0; round < trials; round++) {
      for (const [place, contender] of inTurns(contenders, round).entries()) {
        if (contender.stopped === null) await runTrial(contender, setting)
        bar.update(byteLength * (round * contenders.length + place + 1))
      }
    }
  } finally {
    bar.end()
  }
  const rows = contenders.map(({ way, trials: measured, firstOnly, stopped }) => {
    const note = firstOnly ? `only the first tensor: ${tooLarge}` : stopped
    return rowOf(way, measured, note)
  })
  return { firstTensor: subject.firstTensor, ways: comparedRows(rows) }
}

/** Node.js and onecopy's own files are to be in RAM for the first trial as for the others. */
async function warmUp({ subject, programs }: Setting): Promise<void> {
  const task: ColdStartTask = { ...taskOf(subject), way: 'lazy', firstOnly: true }
  await programs.run('cold-start-process', task)
}

async function runTrial(contender: Contender, { subject, programs }: Setting): Promise<void> {
  const { way, firstOnly } = contender
  const coldness = await makeCold(subject)
  if ('reason' in coldness) {
    contender.stopped = coldness.reason
    return
  }
  const task: ColdStartTask | PlainTask = way.rival
    ? { way: way.id, shards: subject.shards, firstTensor: subject.firstTensor.name }
    : { ...taskOf(subject), way: way.id, firstOnly }
  const outcome = await programs.run<ColdStartTrial>(way.rival ? 'plain-process' : 'cold-start-process', task)
  if ('reason' in outcome) contender.stopped = outcome.reason
  else {
    const startMs = Number(BigInt(outcome.answer.begunNs) - outcome.startedNs) / 1e6
    contender.trials.push({ ...outcome.answer, startMs, residentBeforeBytes: coldness.residentBytes })
  }
}

function taskOf({ source, selection, firstTensor }: Setting['subject']): Omit<ColdStartTask, 'way' | 'firstOnly'> {
  return { source, selection, firstTensor: firstTensor.name }
}

/** Begins one further on in each round, and goes the other way in every second one. */
function inTurns<T>(list: readonly T[], round: number): T[] {
  const first = round % list.length
  const turned = [...list.slice(first), ...list.slice(0, first)]
  return round % 2 === 0 ? turned : turned.reverse()
}
