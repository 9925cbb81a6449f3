import { describe, expect, test } from 'vitest'
import { reportLines } from '../src/commands/demo/report.ts'
import { type DemoResult, differingTensors, figuresOf, isRight, savingsOf } from '../src/commands/demo/result.ts'

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
