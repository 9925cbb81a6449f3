import type { ColdStartTrial } from './cold-start-trial.ts'
import type { ColdStartWay } from './cold-start-ways.ts'
import { type Figure, figureOrNull } from './figures.ts'
import type { ColdStartRow } from './result.ts'

/** A trial, with what only the process that started it knows. */
export interface MeasuredTrial extends ColdStartTrial {
  readonly startMs: number
  readonly residentBeforeBytes: number
}

/** @param reason why there were no trials, or fewer than asked for; null otherwise */
export function rowOf(way: ColdStartWay, trials: readonly MeasuredTrial[], reason: string | null): ColdStartRow {
  const figure = (unit: Figure['unit'], of: (trial: MeasuredTrial) => number | null): Figure | null =>
    figureOrNull(unit, trials.map(of))
  const sinceStart = (of: (trial: MeasuredTrial) => number | null): Figure | null =>
    figure('ms', (trial) => {
      const sinceBegun = of(trial)
      return sinceBegun === null ? null : trial.startMs + sinceBegun
    })
  const after = trials.flatMap(({ residentBytes }) => residentBytes ?? [])
  return {
    way: way.id,
    what: way.what,
    rival: way.rival,
    notMeasured: trials.length === 0 ? reason : null,
    note: trials.length === 0 ? null : reason,
    firstTensorMs: sinceStart(({ firstTensorMs }) => firstTensorMs),
    touchedMs: sinceStart(({ touchedMs }) => touchedMs),
    residentMs: sinceStart(({ residentMs }) => residentMs),
    stages: {
      startMs: figure('ms', ({ startMs }) => startMs),
      loadMs: figure('ms', ({ loadMs }) => loadMs),
      openMs: figure('ms', ({ openMs }) => openMs),
      ioMs: figure('ms', ({ ioMs }) => ioMs),
      faultsMs: figure('ms', ({ faultsMs }) => faultsMs),
    },
    majorFaults: figure('faults', ({ majorFaults }) => majorFaults),
    residentBeforeBytes:
      trials.length === 0 ? null : Math.max(...trials.map(({ residentBeforeBytes }) => residentBeforeBytes)),
    residentAfterBytes: after.length === 0 ? null : Math.min(...after),
    timesFaster: null,
  }
}

/** The rows, each with how many times as fast as the plain rival it is: `readFile` where it could be measured. */
export function comparedRows(rows: readonly ColdStartRow[]): ColdStartRow[] {
  const rival = rivalOf(rows)
  return rows.map((row) => {
    const ours = row.touchedMs?.median
    const timesFaster = ours === undefined || rival?.touchedMs == null ? null : rival.touchedMs.median / ours
    return { ...row, timesFaster }
  })
}

/** The rival that the others are compared with, or null where none was measured. */
export function rivalOf(rows: readonly ColdStartRow[]): ColdStartRow | null {
  return rows.find(({ rival, touchedMs }) => rival && touchedMs !== null) ?? null
}
