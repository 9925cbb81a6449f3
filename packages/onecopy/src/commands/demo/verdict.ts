import type { Style } from '../../terminal/style.ts'
import { displayName } from '../../terminal/text.ts'
import { formatBytes, formatCount } from '../../terminal/units.ts'
import { type DemoResult, savingsOf, type Together, togetherOf } from './result.ts'

/** Above these the figures would not bear what the last sentence says; see `lastSentence`. */
const ONE_COPY_FACTOR = 1.02
const ONE_COPY_SPARE_BYTES = 32 * 2 ** 20 // for each process: what reading and hashing leaves on its heap

/** Tensors smaller than this on average say nothing about copies: what describes them takes as much as they do. */
const SMALL_TENSOR_BYTES = 64 * 2 ** 10

/** `4 threads`, `4 threads and 3 processes`. */
export function readersText({ threads, processes }: DemoResult): string {
  const [inside, outside] = [
    formatCount(threads.length, 'thread'),
    formatCount(processes.length, 'process', 'processes'),
  ]
  return processes.length === 0 ? inside : `${inside} and ${outside}`
}

/** What came of the comparisons, and what was not needed. */
export function verdictFacts(result: DemoResult, { good, bad }: Style): [string, string][] {
  const { threads, processes, tensorCount, differing, productHash, byteLength } = result
  const savings = savingsOf(result)
  const together = togetherOf(result)
  const readers = readersText(result)
  const agree = differing.length === 0
  const count = formatCount(tensorCount, 'tensor')
  const sameProduct = [...threads, ...processes].every((reader) => reader.productHash === productHash)
  const rest = differing.length > 3 ? ` and ${differing.length - 3} more` : ''
  const facts: [string, string][] = [
    [
      'all checksums agree',
      agree
        ? `${good('yes')}: ${count} in ${readers}, and the files read the ordinary way`
        : `${bad('no')}: ${differing.slice(0, 3).map(displayName).join(', ')}${rest}`,
    ],
  ]
  if (productHash !== null) {
    const where = `W·x in ${readers} and in the main thread, bit for bit`
    facts.push(['all products agree', sameProduct ? `${good('yes')}: ${where}` : `${bad('no')}: ${where}`])
  }
  if (together?.factor != null) facts.push(['Σ Pss ÷ checkpoint', factorText(together, together.factor, byteLength)])
  const copies = threads.length + processes.length - 1
  if (copies > 0) {
    const { copyBytes, weightBytes } = together ?? savings
    const [one, all, used] = [byteLength, copyBytes, weightBytes].map(formatBytes)
    const each = together === null ? 'thread' : 'thread and process'
    facts.push(['copies not made', `${copies} × ${one}: a copy for each ${each} takes ${all}, this took ${used}`])
  }
  const threadText = `${formatBytes(savings.threadBytes)} for ${formatCount(threads.length, 'thread')}, weights or not`
  facts.push(['the threads themselves', threadText])
  return facts
}

function factorText({ pssBytes, processCount, weightBytes }: Together, factor: number, byteLength: number): string {
  const whole = `${formatBytes(pssBytes)} in all ${processCount} processes, Node.js itself included`
  return `${factor.toFixed(2)}: ${whole}; ${(weightBytes / byteLength).toFixed(2)} by what they grew for the weights`
}

/** What it all means, and only as far as the figures bear it. */
export function lastSentence(result: DemoResult): string {
  const { differing, threads, processes, byteLength, tensorCount } = result
  const { weightBytes, savedBytes } = togetherOf(result) ?? savingsOf(result)
  const readers = readersText(result)
  if (differing.length > 0) {
    const all = processes.length === 0 ? 'The threads' : 'The threads and processes'
    return `${all} did not all see what is in the files: do not rely on this machine.`
  }
  if (threads.length + processes.length === 1)
    return `One thread read all ${formatBytes(byteLength)} in place; a further one would add nothing to that.`
  if (weightBytes > byteLength * ONE_COPY_FACTOR + ONE_COPY_SPARE_BYTES * (1 + processes.length)) {
    if (byteLength < tensorCount * SMALL_TENSOR_BYTES) {
      return `${readers} read the same ${formatBytes(byteLength)}; with tensors of ${formatBytes(Math.round(byteLength / tensorCount))} on average, what describes them takes more memory than they do.`
    }
    const grew = processes.length === 0 ? 'The process' : `The ${1 + processes.length} processes`
    return `${grew} grew by ${formatBytes(weightBytes)} while ${readers} read ${formatBytes(byteLength)}: more than one copy accounts for.`
  }
  return `${readers} read all ${formatBytes(byteLength)} of weights from the same memory: ${formatBytes(savedBytes)} of copies that nobody had to make.`
}
