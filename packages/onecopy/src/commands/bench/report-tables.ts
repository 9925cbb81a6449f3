import type { Column } from '../../terminal/table.ts'
import { displayName } from '../../terminal/text.ts'
import { formatBytes, formatCount } from '../../terminal/units.ts'
import { rivalOf } from './cold-start-rows.ts'
import { figureText, NO_FIGURE, percentText, timesText, valueText, withWarning } from './figure-text.ts'
import type { Figure } from './figures.ts'
import type { AttachResult, AttachRow, BenchResult, ColdStartResult, SharingResult, SharingRow } from './result.ts'

/** A group of figures as people read it, in a terminal or on a page; not escaped for either. */
export interface ReportTable {
  readonly title: string
  readonly columns: readonly Column[]
  readonly rows: readonly (readonly string[])[]
  /** What the figures mean and how they came to be. */
  readonly notes: readonly string[]
}

/** The groups that were asked for, in their order. */
export function reportTables(result: BenchResult): ReportTable[] {
  const { coldStart, attach, sharing } = result
  return [
    ...(coldStart === null ? [] : coldStartTables(coldStart, result)),
    ...(attach === null ? [] : [attachTable(attach, result)]),
    ...(sharing === null ? [] : [sharingTable(sharing, result)]),
  ]
}

function coldStartTables({ firstTensor, ways }: ColdStartResult, { trials, spreadLimit }: BenchResult): ReportTable[] {
  const measured = ways.filter(({ notMeasured }) => notMeasured === null)
  const rival = rivalOf(ways)
  const totals: ReportTable = {
    title: 'cold start',
    columns: [
      left('way'),
      ...['first tensor', 'all touched', 'all in RAM', `${rival?.way ?? 'rival'} ÷ this`].map(right),
      left(''),
    ],
    rows: ways.map((row) => [
      row.way,
      ...[row.firstTensorMs, row.touchedMs, row.residentMs].map((figure) => figureText(figure)),
      timesText(row.timesFaster, row.touchedMs, rival?.touchedMs),
      reasonText(row.notMeasured) ?? row.note ?? '',
    ]),
    notes: [
      `medians of ${formatCount(trials, 'trial')} from starting a fresh process; before each, the page cache was emptied of the checkpoint and mincore asked`,
      `first tensor: ${displayName(firstTensor.name)}, ${formatBytes(firstTensor.byteLength)}; touched: a byte of each page, in file order`,
      ...ways.map(({ way, what }) => `${way}: ${what}`),
      ...noisyNotes(
        measured.flatMap((row) => [row.firstTensorMs, row.touchedMs, row.residentMs]),
        spreadLimit,
      ),
    ],
  }
  if (measured.length === 0) return [{ ...totals, notes: [] }]
  const stages: ReportTable = {
    title: 'its stages',
    columns: [left('way'), ...['process start', 'load onecopy', 'open', 'I/O', 'faults', 'major faults'].map(right)],
    rows: measured.map(({ way, rival: plain, stages: each, majorFaults }) => [
      way,
      figureText(each.startMs),
      plain ? NO_FIGURE : figureText(each.loadMs),
      each.openMs === null ? 'in I/O' : figureText(each.openMs),
      each.ioMs === null ? 'in faults' : figureText(each.ioMs),
      figureText(each.faultsMs),
      majorFaults === null ? NO_FIGURE : valueText('faults', majorFaults.median),
    ]),
    notes: noisyNotes(
      measured.flatMap(({ stages: each }) => Object.values(each)),
      spreadLimit,
    ),
  }
  return [totals, stages]
}

function attachTable({ thread, process }: AttachResult, { spreadLimit }: BenchResult): ReportTable {
  const row = (name: string, { weightsMs, bareMs, beyondMs }: AttachRow): string[] => [
    name,
    figureText(weightsMs),
    figureText(weightsMs, 'p99'),
    figureText(bareMs),
    figureText(bareMs, 'p99'),
    withWarning(valueText('ms', beyondMs.p50), weightsMs, bareMs),
    withWarning(valueText('ms', beyondMs.p99), weightsMs, bareMs),
  ]
  const stages = process.stages
  return {
    title: 'attach',
    columns: [left('a further'), ...['p50', 'p99', 'bare p50', 'bare p99', 'beyond p50', 'beyond p99'].map(right)],
    rows: [row('thread', thread), row('process', process)],
    notes: [
      `${formatCount(thread.weightsMs.samples.length, 'start')} each, in turns with a bare Worker and a bare node -e; a p99 of fewer than 100 is nearly the slowest`,
      'from starting it until it had looked a tensor up; a process attaches through a coordinator of this run',
      ...(stages === null
        ? []
        : [
            `of the process: loading onecopy ${figureText(stages.loadMs)}, attach() ${figureText(stages.attachMs)} (p50)`,
          ]),
      ...noisyNotes([thread.weightsMs, thread.bareMs, process.weightsMs, process.bareMs], spreadLimit),
    ],
  }
}

function sharingTable({ rows }: SharingResult, { byteLength, spreadLimit }: BenchResult): ReportTable {
  const shared = rows.filter(({ weights }) => weights === 'shared')
  return {
    title: 'sharing',
    columns: [
      left('readers'),
      ...['Σ Pss, one copy', 'for the weights', '÷ checkpoint', 'Σ Pss, a copy each', 'copies ÷ one'].map(right),
      left(''),
    ],
    rows: shared.map((one) => {
      const copies = copiesBeside(one, rows)
      const ratio =
        one.pssBytes === null || copies.pssBytes === null ? null : copies.pssBytes.median / one.pssBytes.median
      const reason = reasonText(one.notMeasured) ?? reasonText(copies.notMeasured, 'a copy each not measured here')
      return [
        readersText(one),
        ...[one.pssBytes, one.weightBytes].map((figure) => figureText(figure)),
        one.factor === null ? NO_FIGURE : one.factor.toFixed(3),
        figureText(copies.pssBytes),
        timesText(ratio, one.pssBytes, copies.pssBytes),
        reason ?? '',
      ]
    }),
    notes: [
      `memory of all processes together when every reader had touched ${formatBytes(byteLength)}, Node.js and the coordinator included`,
      'for the weights: less what the same processes had before they read; threads are those of one process',
      ...noisyNotes(
        rows.flatMap(({ pssBytes, weightBytes }) => [pssBytes, weightBytes]),
        spreadLimit,
      ),
    ],
  }
}

/** The row of as many readers that have a copy each. */
export function copiesBeside({ kind, readers }: SharingRow, rows: readonly SharingRow[]): SharingRow {
  return rows.find((row) => row.weights === 'a copy each' && row.kind === kind && row.readers === readers)!
}

export function readersText({ readers, kind }: SharingRow): string {
  return kind === 'threads' ? formatCount(readers, 'thread') : formatCount(readers, 'process', 'processes')
}

function reasonText(reason: string | null, start = 'not measured here'): string | null {
  return reason === null ? null : `${start}: ${reason}`
}

function noisyNotes(figures: readonly (Figure | null)[], limit: number): string[] {
  if (!figures.some((figure) => figure?.noisy === true)) return []
  return [`⚠ the spread (interquartile range ÷ median) is above ${percentText(limit)}: do not rely on that figure`]
}

function left(title: string): Column {
  return { title }
}

function right(title: string): Column {
  return { title, align: 'right' }
}
