import { describe, expect, test } from 'vitest'
import { reportLines } from '../src/commands/demo/report.ts'
import {
  type DemoResult,
  differingTensors,
  figuresOf,
  isRight,
  savingsOf,
  togetherOf,
} from '../src/commands/demo/result.ts'

const MIB = 2 ** 20
const plain = { bold: keep, dim: keep, good: keep, bad: keep }

function keep(text: string): string {
  return text
}

function memory(mebibytes: number) {
  return { rssBytes: mebibytes * MIB, pssBytes: mebibytes * MIB, anonymousBytes: null }
}

function thread(threadId: number, hash: string) {
  return { threadId, readyMs: 50, checksumMs: 100, productMs: 5, tensorHashes: [hash], productHash: 'p' }
}

function reader(pid: number, hash: string, pssAfter: number) {
  const times = { readyMs: 80, attachMs: 3, checksumMs: 90, productMs: 4 }
  const hashes = { tensorHashes: [hash], productHash: 'p' }
  return { pid, ...times, ...hashes, memoryBefore: memory(20), memoryRead: memory(pssAfter) }
}

function result(changes: Partial<DemoResult> = {}): DemoResult {
  return {
    label: '/models/x',
    origin: 'given',
    backing: 'file',
    shardCount: 3,
    tensorCount: 1,
    parameterCount: 50 * MIB,
    byteLength: 100 * MIB,
    generateMs: null,
    openMs: 2,
    residentBytes: 100 * MIB,
    prefetchMs: null,
    matrix: { name: 'w', dtype: 'BF16', shape: [2, 2] },
    memoryBefore: memory(50),
    memoryOpened: memory(51),
    memoryReady: memory(81),
    memoryRead: memory(182),
    threads: [thread(1, 'h'), thread(2, 'h')],
    processes: [],
    withoutProcesses: null,
    memoryTogether: null,
    fileHashes: ['h'],
    productHash: 'p',
    differing: [],
    ...changes,
  }
}

describe('demo report', () => {
  test('says what copies would have taken and what was used', () => {
    const { weightBytes, threadBytes, copyBytes, savedBytes } = savingsOf(result())
    expect([weightBytes, threadBytes, copyBytes, savedBytes]).toEqual([102 * MIB, 30 * MIB, 200 * MIB, 98 * MIB])
    const text = reportLines(result(), plain).join('\n')
    expect(text).toContain('1 × 100.0 MiB: a copy for each thread takes 200.0 MiB, this took 102.0 MiB')
    expect(text).toMatch(/from the same memory: 98\.0 MiB of copies that nobody had to make\.$/)
  })

  test('makes no claim of one copy when the process grew by more', () => {
    const text = reportLines(result({ memoryRead: memory(300) }), plain).join('\n')
    expect(text).toMatch(/The process grew by .* more than one copy accounts for\.$/)
  })

  test('names the tensors that differ, escaped, and marks the thread that saw them', () => {
    const threads = [thread(1, 'h'), thread(2, 'other')]
    const differing = differingTensors(['evil\u001b[2J'], ['h'], threads)
    const wrong = result({ threads, differing })
    expect(threads.map((each) => isRight(each, wrong))).toEqual([true, false])
    expect(figuresOf(wrong)).toMatchObject({ allChecksumsAgree: false, allProductsAgree: true })
    const text = reportLines(wrong, plain).join('\n')
    expect(text).toContain('all checksums agree     no: "evil\\u001b[2J"')
    expect(text).toMatch(/do not rely on this machine\.$/)
    expect(text.match(/[✓✗]$/gm)).toEqual(['✓', '✗'])
  })

  test('says that products differ', () => {
    const text = reportLines(result({ productHash: 'another' }), plain).join('\n')
    expect(text).toContain('all products agree      no')
  })

  test('with processes: what all took together, and a copy for each reader', () => {
    const processes = [reader(11, 'h', 45), reader(12, 'h', 45)]
    const shared = result({ processes, memoryTogether: memory(132) })
    // 132 + 45 + 45, less 50 + 20 + 20 before and 30 for the threads
    expect(togetherOf(shared)).toEqual({
      processCount: 3,
      pssBytes: 222 * MIB,
      factor: 2.22,
      weightBytes: 102 * MIB,
      copyBytes: 400 * MIB,
      savedBytes: 298 * MIB,
    })
    const text = reportLines(shared, plain).join('\n')
    expect(text).toMatch(/^one checkpoint, 2 threads and 2 processes$/m)
    expect(text).toMatch(/^ +1 +80\.0 ms +3\.00 ms .*✓$/m)
    expect(text).toMatch(/^process 2 \(12\) +45\.0 MiB +45\.0 MiB/m)
    expect(text).toMatch(/^the sum .* 222\.0 MiB +222\.0 MiB/m)
    expect(text).toContain('2.22: 222.0 MiB in all 3 processes, Node.js itself included; 1.02 by what they grew')
    expect(text).toMatch(/from the same memory: 298\.0 MiB of copies that nobody had to make\.$/)
  })

  test('with processes: makes no claim of one copy when one of them made its own', () => {
    const processes = [reader(11, 'h', 45), reader(12, 'h', 245)]
    const text = reportLines(result({ processes, memoryTogether: memory(132) }), plain).join('\n')
    expect(text).toMatch(/The 3 processes grew by .* more than one copy accounts for\.$/)
  })

  test('with processes: marks the one that saw something else', () => {
    const processes = [reader(11, 'h', 45), reader(12, 'other', 45)]
    const wrong = result({ processes, memoryTogether: memory(132), differing: ['w'] })
    expect(figuresOf(wrong).processes.map(({ right }) => right)).toEqual([true, false])
    const text = reportLines(wrong, plain).join('\n')
    expect(text.match(/[✓✗]$/gm)).toEqual(['✓', '✓', '✓', '✗'])
    expect(text).toMatch(/The threads and processes did not all see .*\.$/)
  })

  test('says why there are no processes', () => {
    expect(reportLines(result({ withoutProcesses: 'because' }), plain)).toContain('processes   none: because')
  })

  test('leaves unknown figures out', () => {
    const unknown = { rssBytes: 1, pssBytes: null, anonymousBytes: null }
    const text = reportLines(
      result({ residentBytes: null, memoryBefore: unknown, matrix: null, productHash: null }),
      plain,
    ).join('\n')
    expect(text).toMatch(/^before opening +1 B +– +–$/m)
    expect(text).not.toContain('page cache')
    expect(text).not.toContain('all products agree')
  })
})
