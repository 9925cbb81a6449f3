import type { AttachTrial } from './attach-process.ts'
import type { AttachThreadsTask, AttachThreadsTrial } from './attach-threads-process.ts'
import type { BenchCoordinator } from './bench-coordinator.ts'
import { CountLine } from './count-line.ts'
import { figureOf } from './figures.ts'
import type { Programs } from './programs.ts'
import type { AttachResult, AttachRow } from './result.ts'
import type { Setting } from './setting.ts'

/** A p99 needs samples: so many for each trial that was asked for. */
const STARTS_EACH_TRIAL = 10

const WARM_UPS = 2

/** Prints when its first line runs, and is node and nothing else. */
const BARE = 'fs.writeSync(1, String(process.hrtime.bigint()))'

/** What a further thread and a further process take until they have all weights, beyond starting one. */
export async function measureAttach(setting: Setting, coordinator: BenchCoordinator): Promise<AttachResult> {
  const { subject, programs, trials } = setting
  const line = new CountLine('attach', 2 * trials * STARTS_EACH_TRIAL)
  try {
    const process = await measureProcesses(programs, coordinator, trials * STARTS_EACH_TRIAL, line)
    const thread = await measureThreads(programs, subject.source, trials, line)
    return { thread, process }
  } finally {
    line.end()
  }
}

async function measureProcesses(
  programs: Programs,
  { env }: BenchCoordinator,
  rounds: number,
  line: CountLine,
): Promise<AttachRow> {
  const bare: number[] = []
  const weights: number[] = []
  const stages: AttachTrial[] = []
  const attachArgs = [programs.path('attach-process')]
  const steps = [
    async (): Promise<void> => {
      const { text, startedNs } = await programs.print(['-e', BARE])
      bare.push(Number(BigInt(text) - startedNs) / 1e6)
    },
    async (): Promise<void> => {
      const { text, startedNs } = await programs.print(attachArgs, env)
      const trial: AttachTrial = JSON.parse(text)
      weights.push(Number(BigInt(trial.atNs) - startedNs) / 1e6)
      stages.push(trial)
    },
  ]
  for (let round = -WARM_UPS; round < rounds; round++) {
    for (const step of round % 2 === 0 ? steps : steps.toReversed()) await step()
    if (round >= 0) line.add(1)
  }
  const counted = stages.slice(WARM_UPS)
  return {
    ...beyond(bare.slice(WARM_UPS), weights.slice(WARM_UPS)),
    stages: {
      loadMs: figureOf(
        'ms',
        counted.map(({ loadMs }) => loadMs),
      ),
      attachMs: figureOf(
        'ms',
        counted.map(({ attachMs }) => attachMs),
      ),
    },
  }
}

async function measureThreads(
  programs: Programs,
  source: string | readonly string[],
  trials: number,
  line: CountLine,
): Promise<AttachRow> {
  const bare: number[] = []
  const weights: number[] = []
  for (let trial = 0; trial < trials; trial++) {
    const task: AttachThreadsTask = { source, rounds: STARTS_EACH_TRIAL }
    const program = programs.start('attach-threads-process', task)
    try {
      const samples = await program.answer<AttachThreadsTrial>()
      bare.push(...samples.bare)
      weights.push(...samples.weights)
    } finally {
      await program.end()
    }
    line.add(STARTS_EACH_TRIAL)
  }
  return { ...beyond(bare, weights), stages: null }
}

function beyond(bare: readonly number[], weights: readonly number[]): Omit<AttachRow, 'stages'> {
  const bareMs = figureOf('ms', bare)
  const weightsMs = figureOf('ms', weights)
  const beyondMs = { p50: weightsMs.median - bareMs.median, p99: weightsMs.p99 - bareMs.p99 }
  return { weightsMs, bareMs, beyondMs }
}
