import { printable } from '../../terminal/printable.ts'
import type { Style } from '../../terminal/style.ts'
import { factLines, tableLines } from '../../terminal/table.ts'
import { formatBytes, formatCount } from '../../terminal/units.ts'
import { reportTables } from './report-tables.ts'
import type { BenchResult } from './result.ts'

/** What the report says before its tables. */
export function reportFacts(result: BenchResult): [label: string, text: string][] {
  const { label, byteLength, tensorCount, shardCount, limitBytes, environment: on } = result
  const content = `${formatBytes(byteLength)} in ${formatCount(tensorCount, 'tensor')} of ${formatCount(shardCount, 'shard')}`
  const rest = `${formatBytes(result.wholeByteLength)} in ${formatCount(result.wholeTensorCount, 'tensor')}`
  const memory = `${formatBytes(on.memoryBytes)} of memory, ${formatBytes(on.availableMemoryBytes)} available`
  return [
    ['checkpoint', label],
    ['measured', limitBytes === null ? content : `${content}: the first ${formatBytes(limitBytes)} of ${rest}`],
    ['machine', `${on.cpu}, ${formatCount(on.cores, 'core')}; ${memory}`],
    ['system', `${on.platform}, kernel ${on.kernel}, ${on.fileSystem}; load ${on.loadAverage.toFixed(2)}`],
    ['software', `onecopy ${on.onecopy}, Node.js ${on.node}`],
    ['date', result.date],
  ]
}

/** The report, as lines for a terminal. */
export function reportLines(result: BenchResult, style: Style): string[] {
  const facts = reportFacts(result).map(([label, text]) => [label, printable(text)] as const)
  const tables = reportTables(result).flatMap(({ title, columns, rows, notes }) => [
    '',
    style.bold(title),
    ...tableLines(
      columns,
      rows.map((cells) => cells.map(printable)),
      style.dim,
    ),
    ...notes.map((note) => style.dim(printable(note))),
  ])
  return [style.bold('onecopy bench'), '', ...factLines(facts, style.dim), ...tables]
}
