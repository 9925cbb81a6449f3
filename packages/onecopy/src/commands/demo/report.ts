import { printable } from '../../terminal/printable.ts'
import type { Style } from '../../terminal/style.ts'
import { factLines, tableLines } from '../../terminal/table.ts'
import { displayName } from '../../terminal/text.ts'
import { formatBytes, formatCount, formatMs, formatParameters, formatRate } from '../../terminal/units.ts'
import type { MemoryReading } from './memory-reading.ts'
import { type DemoResult, isRight, type Savings, savingsOf } from './result.ts'

/** Above these the figures would not bear what the last sentence says; see `lastSentence`. */
const ONE_COPY_FACTOR = 1.02
const ONE_COPY_SPARE_BYTES = 32 * 2 ** 20

/** The demo's report, as lines. */
export function reportLines(result: DemoResult, style: Style): string[] {
  const savings = savingsOf(result)
  return [
    style.bold(`one checkpoint, ${formatCount(result.threads.length, 'thread')}`),
    '',
    ...factLines(checkpointFacts(result), style.dim),
    '',
    ...threadLines(result, style),
    '',
    ...memoryLines(result, style),
    '',
    ...factLines(verdictFacts(result, savings, style), style.dim),
    '',
    lastSentence(result, savings),
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
  return facts
}

function originText({ label, origin, generateMs }: DemoResult): string {
  if (generateMs === null) return printable(label)
  const place = origin === 'generated' ? 'in a temporary folder, now removed' : printable(`kept: ${label}`)
  return `generated in ${formatMs(generateMs)}, ${place}`
}

function backingText({ backing, residentBytes, byteLength, prefetchMs }: DemoResult): string {
  if (backing === 'heap') return "read into this process's own memory (heap backing: this machine cannot map files)"
  const checked = 'headers checked, files mapped'
  if (residentBytes === null || byteLength === 0) return checked
  const share = Math.floor((100 * Math.min(residentBytes, byteLength)) / byteLength)
  const later = share < 100 && prefetchMs === null ? '; the threads read the rest from disk' : ''
  return `${checked}; ${share} % in the page cache${later}`
}

function threadLines(result: DemoResult, style: Style): string[] {
  const rows = result.threads.map((thread, at) => [
    String(at + 1),
    formatMs(thread.readyMs),
    formatMs(thread.checksumMs),
    formatRate(result.byteLength, thread.checksumMs),
    thread.productMs === null ? '–' : formatMs(thread.productMs),
    isRight(thread, result) ? style.good('✓') : style.bad('✗'),
  ])
  const titles = ['thread', 'ready after', 'sha256 of all', 'rate', 'W·x', 'right']
  return tableLines(
    titles.map((title, at) => ({ title, align: at === titles.length - 1 ? 'left' : 'right' })),
    rows,
    style.dim,
  )
}

function memoryLines(result: DemoResult, style: Style): string[] {
  const { memoryBefore, memoryOpened, memoryReady, memoryRead, threads, prefetchMs } = result
  const row = (title: string, { rssBytes, pssBytes, anonymousBytes }: MemoryReading): string[] => [
    title,
    formatBytes(rssBytes),
    pssBytes === null ? '–' : formatBytes(pssBytes),
    anonymousBytes === null ? '–' : formatBytes(anonymousBytes),
  ]
  const everyByte = threads.length === 1 ? 'every byte read' : `every byte read by all ${threads.length}`
  return tableLines(
    [
      { title: 'memory of this process' },
      { title: 'Rss', align: 'right' },
      { title: 'Pss', align: 'right' },
      { title: 'anonymous', align: 'right' },
    ],
    [
      row('before opening', memoryBefore),
      row(prefetchMs === null ? 'opened' : 'opened and read in', memoryOpened),
      row('threads ready', memoryReady),
      row(everyByte, memoryRead),
    ],
    style.dim,
  )
}

function verdictFacts(result: DemoResult, savings: Savings, { good, bad }: Style): [string, string][] {
  const { threads, tensorCount, differing, productHash, byteLength } = result
  const agree = differing.length === 0
  const count = formatCount(tensorCount, 'tensor')
  const sameProduct = threads.every((thread) => thread.productHash === productHash)
  const rest = differing.length > 3 ? ` and ${differing.length - 3} more` : ''
  const copies = threads.length - 1
  const facts: [string, string][] = [
    [
      'all checksums agree',
      agree
        ? `${good('yes')}: ${count} in ${formatCount(threads.length, 'thread')}, and the files read the ordinary way`
        : `${bad('no')}: ${differing.slice(0, 3).map(displayName).join(', ')}${rest}`,
    ],
  ]
  if (productHash !== null) {
    const where = `W·x in ${formatCount(threads.length, 'thread')} and in the main thread, bit for bit`
    facts.push(['all products agree', sameProduct ? `${good('yes')}: ${where}` : `${bad('no')}: ${where}`])
  }
  if (copies > 0) {
    const [one, all, used] = [byteLength, savings.copyBytes, savings.weightBytes].map(formatBytes)
    facts.push(['copies not made', `${copies} × ${one}: a copy for each thread takes ${all}, this took ${used}`])
  }
  const threadText = `${formatBytes(savings.threadBytes)} for ${formatCount(threads.length, 'thread')}, weights or not`
  facts.push(['the threads themselves', threadText])
  return facts
}

/** Tensors smaller than this on average say nothing about copies: what describes them takes as much as they do. */
const SMALL_TENSOR_BYTES = 64 * 2 ** 10

/** What it all means, and only as far as the figures bear it. */
function lastSentence(
  { differing, threads, byteLength, tensorCount }: DemoResult,
  { weightBytes, savedBytes }: Savings,
): string {
  if (differing.length > 0) return 'The threads did not all see what is in the files: do not rely on this machine.'
  if (threads.length === 1)
    return `One thread read all ${formatBytes(byteLength)} in place; a further one would add nothing to that.`
  if (weightBytes > byteLength * ONE_COPY_FACTOR + ONE_COPY_SPARE_BYTES) {
    if (byteLength < tensorCount * SMALL_TENSOR_BYTES) {
      return `${threads.length} threads read the same ${formatBytes(byteLength)}; with tensors of ${formatBytes(Math.round(byteLength / tensorCount))} on average, what describes them takes more memory than they do.`
    }
    return `The process grew by ${formatBytes(weightBytes)} while ${threads.length} threads read ${formatBytes(byteLength)}: more than one copy accounts for.`
  }
  return `${threads.length} threads read all ${formatBytes(byteLength)} of weights from the same memory: ${formatBytes(savedBytes)} of copies that nobody had to make.`
}
