import { printable } from '../../terminal/printable.ts'
import type { Style } from '../../terminal/style.ts'
import { factLines, tableLines } from '../../terminal/table.ts'
import { displayName } from '../../terminal/text.ts'
import { formatBytes, formatCount, formatMs, formatParameters, formatRate } from '../../terminal/units.ts'
import type { MemoryReading } from './memory-reading.ts'
import type { ReadResult } from './read-everything.ts'
import { type DemoResult, isRight } from './result.ts'
import type { ProcessResult } from './run-processes.ts'
import { lastSentence, readersText, verdictFacts } from './verdict.ts'

/** The demo's report, as lines. */
export function reportLines(result: DemoResult, style: Style): string[] {
  const { threads, processes } = result
  return [
    style.bold(`one checkpoint, ${readersText(result)}`),
    '',
    ...factLines(checkpointFacts(result), style.dim),
    '',
    ...readerLines('thread', threads, ({ readyMs }) => [formatMs(readyMs)], ['ready after'], result, style),
    '',
    ...(processes.length === 0 ? [] : [...processLines(result, style), '']),
    ...memoryLines(result, style),
    '',
    ...(processes.length === 0 ? [] : [...togetherLines(result, style), '']),
    ...factLines(verdictFacts(result, style), style.dim),
    '',
    lastSentence(result),
  ]
}

function checkpointFacts(result: DemoResult): [string, string][] {
  const { byteLength, residentBytes, prefetchMs, matrix } = result
  const size = `${formatBytes(byteLength)} in ${formatCount(result.shardCount, 'shard')}`
  const content = `${formatCount(result.tensorCount, 'tensor')}, ${formatParameters(result.parameterCount)} parameters`
  const facts: [string, string][] = [
    ['checkpoint', originText(result)],
    ['', `${size}; ${content}`],
    ['opened in', `${formatMs(result.openMs)}: ${backingText(result)}`],
  ]
  if (prefetchMs !== null) {
    const missing = byteLength - (residentBytes ?? 0)
    const rate = formatRate(missing, prefetchMs)
    facts.push(['read in', `${formatMs(prefetchMs)}: ${formatBytes(missing)} from disk (${rate})`])
  }
  const product =
    matrix === null
      ? 'none: the checkpoint has no matrix of BF16, F16 or F32'
      : `y = W·x with W = ${displayName(matrix.name)}, ${matrix.dtype} [${matrix.shape.join(', ')}]`
  facts.push(['computed', product])
  if (result.withoutProcesses !== null) facts.push(['processes', `none: ${result.withoutProcesses}`])
  return facts
}

function originText({ label, origin, generateMs }: DemoResult): string {
  if (generateMs === null) return printable(label)
  const place = origin === 'generated' ? 'in a temporary folder, now removed' : printable(`kept: ${label}`)
  return `generated in ${formatMs(generateMs)}, ${place}`
}

function backingText({ backing, residentBytes, byteLength, prefetchMs }: DemoResult): string {
  if (backing === 'heap') return "read into this process's own memory (heap backing: this machine cannot map files)"
  if (backing === 'sealed')
    return 'headers checked, copied into memory and sealed, which nobody can change, cut or evict'
  const checked = 'headers checked, files mapped'
  if (residentBytes === null || byteLength === 0) return checked
  const share = Math.floor((100 * Math.min(residentBytes, byteLength)) / byteLength)
  const later = share < 100 && prefetchMs === null ? '; the threads read the rest from disk' : ''
  return `${checked}; ${share} % in the page cache${later}`
}

function processLines(result: DemoResult, style: Style): string[] {
  const times = ({ readyMs, attachMs }: ProcessResult): string[] => [formatMs(readyMs), formatMs(attachMs)]
  return readerLines('process', result.processes, times, ['ready after', 'attached in'], result, style)
}

/** A table with a row for each reader; `times` gives what stands below `titles`, before what all readers have. */
function readerLines<Reader extends ReadResult>(
  noun: string,
  readers: readonly Reader[],
  times: (reader: Reader) => readonly string[],
  titles: readonly string[],
  result: DemoResult,
  style: Style,
): string[] {
  const rows = readers.map((reader, at) => [
    String(at + 1),
    ...times(reader),
    formatMs(reader.checksumMs),
    formatRate(result.byteLength, reader.checksumMs),
    reader.productMs === null ? '–' : formatMs(reader.productMs),
    isRight(reader, result) ? style.good('✓') : style.bad('✗'),
  ])
  const numbers = [noun, ...titles, 'sha256 of all', 'rate', 'W·x']
  return tableLines([...numbers.map(right), { title: 'right' }], rows, style.dim)
}

function memoryLines(result: DemoResult, style: Style): string[] {
  const { memoryBefore, memoryOpened, memoryReady, memoryRead, threads, prefetchMs } = result
  const everyByte = threads.length === 1 ? 'every byte read' : `every byte read by all ${threads.length}`
  return memoryTable(
    'memory of this process',
    [
      ['before opening', memoryBefore],
      [prefetchMs === null ? 'opened' : 'opened and read in', memoryOpened],
      ['threads ready', memoryReady],
      [everyByte, memoryRead],
    ],
    style,
  )
}

/** Everybody's memory at one moment, and its sum. */
function togetherLines({ memoryTogether, processes, threads }: DemoResult, style: Style): string[] {
  const own: (readonly [string, MemoryReading])[] =
    memoryTogether === null ? [] : [[`this one, ${formatCount(threads.length, 'thread')}`, memoryTogether]]
  const others = processes.map(({ pid, memoryRead }, at) => [`process ${at + 1} (${pid})`, memoryRead] as const)
  const all = [...own, ...others]
  const sum = (field: keyof MemoryReading): number =>
    all.reduce((total, [, reading]) => total + (reading[field] ?? 0), 0)
  const total = { rssBytes: sum('rssBytes'), pssBytes: sum('pssBytes'), anonymousBytes: sum('anonymousBytes') }
  return memoryTable(
    'memory of all, every byte read by each',
    [...all, ['the sum (Rss counts shared pages again)', total]],
    style,
  )
}

function memoryTable(
  title: string,
  readings: readonly (readonly [title: string, reading: MemoryReading])[],
  style: Style,
): string[] {
  const rows = readings.map(([label, { rssBytes, pssBytes, anonymousBytes }]) => [
    label,
    formatBytes(rssBytes),
    pssBytes === null ? '–' : formatBytes(pssBytes),
    anonymousBytes === null ? '–' : formatBytes(anonymousBytes),
  ])
  return tableLines([{ title }, ...['Rss', 'Pss', 'anonymous'].map(right)], rows, style.dim)
}

function right(title: string) {
  return { title, align: 'right' } as const
}
