import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { BENCHMARKS } from '../benchmarks/catalogue.mjs'
import { runBenchmark } from '../benchmarks/harness/benchmark.mjs'
import { drawChart } from '../benchmarks/harness/chart.mjs'
import { problemsOf } from '../benchmarks/harness/check-result.mjs'
import { bench } from '../benchmarks/harness/command.mjs'
import { type Result, writeResult } from '../benchmarks/harness/result.mjs'
import { Scratch } from '../benchmarks/harness/scratch.mjs'
import { formatResult } from '../benchmarks/harness/table.mjs'
import { HAS_ADDON } from './has-addon.ts'
import { temporaryFolder } from './support.ts'

const RESULTS = new URL('../benchmarks/results/', import.meta.url)

// Each benchmark runs, and its file is as documented. Never a time: whose figures are good is not a question for a test.
describe.skipIf(!HAS_ADDON)('at a tiny size', () => {
  it.each(BENCHMARKS)('benchmark $name gives a result file as its schema says', async (benchmark) => {
    const scratch = new Scratch(temporaryFolder())
    onTestFinished(() => scratch.remove())
    const log = (): void => {}
    const result = await runBenchmark(benchmark, { size: 'tiny', scratch, mayInstall: false, log })
    scratch.remove()
    expect(existsSync(scratch.temporary)).toBe(false)

    const written: Result = JSON.parse(readFileSync(writeResult(temporaryFolder(), result), 'utf8'))
    expect(problemsOf(written)).toEqual([])
    expect(written).toMatchObject({ benchmark: benchmark.name, size: 'tiny', targets: [] })
    expect(new Set(written.figures.map(({ subject }) => subject))).toContain('onecopy')
    for (const { unit, median, subject } of written.figures) {
      if (unit === 'GB/s' || unit === 'bytes') expect(median, subject).toBeGreaterThan(0)
    }
    for (const { label } of written.figures) expect(formatResult(written)).toContain(label)
    for (const chart of written.charts) expect(drawChart(chart)).toMatch(/^<svg .*<\/svg>$/s)
  })
})

it('bench writes the results of the benchmarks that were asked for, and says what they are', {
  skip: !HAS_ADDON,
}, async () => {
  const out = temporaryFolder()
  const print = vi.spyOn(console, 'log').mockImplementation(() => {})
  vi.spyOn(console, 'error').mockImplementation(() => {})
  onTestFinished(() => void vi.restoreAllMocks())
  expect(await bench(['--tiny', '--out', out, '--only', 'pool'])).toBe(0)
  expect(readdirSync(out)).toEqual(['pool.json'])
  expect(print.mock.calls.join('\n')).toContain(join(out, 'pool.json'))
})

it.each([
  { args: ['--only', 'opne'], says: 'There is no benchmark "opne"' },
  { args: ['--tiny'], says: 'say with --out where they go' },
  { args: ['--tiny', '--full'], says: 'only one of them' },
])('bench refuses $args', async ({ args, says }) => {
  const complain = vi.spyOn(console, 'error').mockImplementation(() => {})
  onTestFinished(() => void vi.restoreAllMocks())
  expect(await bench(args)).toBe(2)
  expect(complain.mock.calls.join('\n')).toContain(says)
})

it('every recorded result is as the schema says, and none is of a tiny run', () => {
  const names = BENCHMARKS.map(({ name }) => `${name}.json`)
  for (const name of readdirSync(RESULTS).filter((entry) => names.includes(entry))) {
    const result: Result = JSON.parse(readFileSync(new URL(name, RESULTS), 'utf8'))
    expect(problemsOf(result), name).toEqual([])
    expect(result.size, name).not.toBe('tiny')
  }
})
