import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { temporaryFolder } from '../../test/support.ts'
import { BENCHMARKS } from '../catalogue.mjs'
import { Collector, type Result } from '../harness/result.mjs'
import { drawPage } from '../report/page.mjs'
import { type Recorded, readRecorded } from '../report/recorded.mjs'
import { currentPage, writeReport } from '../report/write-report.mjs'
import { ROWS, type Row } from '../targets.mjs'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const MEND = 'run "npm run bench:report": the page is made from benchmarks/results and never typed'

const ROW: Row = {
  id: 'fast',
  what: 'It is fast',
  promise: '≤ 3 ms; ≥ 2× the rival',
  benchmark: 'speed',
  figures: 'first.',
  parts: 2,
}

it('docs/benchmarks.md and its charts are what the recorded results give', () => {
  const files = currentPage()
  for (const [path, text] of files) {
    const file = join(ROOT, 'docs', path)
    expect(existsSync(file), `${path} is absent: ${MEND}`).toBe(true)
    expect(readFileSync(file, 'utf8') === text, `${path} differs: ${MEND}`).toBe(true)
  }
  const charts = join(ROOT, 'docs', 'benchmarks')
  for (const name of existsSync(charts) ? readdirSync(charts) : []) {
    expect(files.has(`benchmarks/${name}`), `${name} belongs to no result: ${MEND}`).toBe(true)
  }
})

it('every promise names a benchmark that there is, or a test that says that it shows it', () => {
  expect(new Set(ROWS.map(({ id }) => id)).size).toBe(ROWS.length)
  for (const row of ROWS) {
    if ('test' in row) expect(readFileSync(join(ROOT, row.test), 'utf8')).toContain(row.name)
    else expect(BENCHMARKS.map(({ name }) => name)).toContain(row.benchmark)
  }
})

it('drawPage() shows each comparison of a promise with its rival, and that it is met', () => {
  const page = pageOf([result({ median: 2, rival: 6 })])
  expect(page).toContain('Of 1 promises 1 are met, 0 missed')
  expect(page).toContain('| **It is fast**: ≥ 2× | Rival: 6.00 ms | 2.00 ms | 3.00 (at least 2.00) | yes |')
  expect(page).toContain('| **It is fast**: ≤ 3 ms | – | 2.00 ms | 2.00 (at most 3.00) | yes |')
  expect(page).toContain('![A chart](benchmarks/speed-chart.svg)')
  expect(page).toContain('Not measured here:\n\n- a third one: it is not here')
  expect(page).not.toContain('Warning')
})

it('drawPage() explains a promise that is missed with the note of that name', () => {
  const missing = [result({ median: 4, rival: 6 })]
  expect(pageOf(missing)).toContain('### Missed: It is fast\n\nNobody has explained this yet.')
  const page = pageOf(missing, new Map([['fast', 'The disk was slow.']]))
  expect(page).toContain('0 are met, 1 missed')
  expect(page).toContain('| **no** |')
  expect(page).toContain('### Missed: It is fast\n\nThe disk was slow.')
})

it('drawPage() says what is not measured: of a promise, of a benchmark, and with no result at all', () => {
  const page = pageOf([result({ median: 2, rival: null })])
  expect(page).toContain('0 are met, 0 missed and 1 not measured')
  expect(page).toContain('| 1 of 2 comparisons, [why](#speed) | – | not measured here |')
  const empty = pageOf([])
  expect(empty).toContain('no result is recorded: `npm run bench -- --only speed`')
  expect(empty).toContain('No result is recorded of: speed.')
})

it('drawPage() warns of noise', () => {
  const page = pageOf([result({ median: 2, rival: 6, spread: 1 })])
  expect(page).toContain('> **Warning:** 1 of 2 figures are noisy')
  expect(page).toContain('noisy: spread')
})

it('drawPage() gives the same bytes however often it is asked', () => {
  const draw = () => [...drawPage(recorded([result({ median: 2, rival: 6 })]), { rows: [ROW], names: ['speed'] })]
  expect(draw()).toEqual(draw())
})

it('readRecorded() refuses a result that is not as its schema says', () => {
  const folder = temporaryFolder()
  writeFileSync(join(folder, 'speed.json'), JSON.stringify({ ...result({ median: 2, rival: 6 }), figures: [] }))
  expect(() => readRecorded({ results: folder, notes: join(folder, 'absent') }, [])).toThrow('at least one figure')
})

it('writeReport() removes charts that nothing refers to', () => {
  const docs = temporaryFolder()
  writeReport(docs)
  writeFileSync(join(docs, 'benchmarks', 'old.svg'), '<svg/>')
  expect(readFileSync(writeReport(docs), 'utf8')).toBe(currentPage().get('benchmarks.md'))
  expect(existsSync(join(docs, 'benchmarks', 'old.svg'))).toBe(false)
})

function pageOf(results: Result[], notes = new Map<string, string>()): string {
  return drawPage(recorded(results, notes), { rows: [ROW], names: ['speed'] }).get('benchmarks.md') ?? ''
}

function recorded(results: Result[], notes = new Map<string, string>()): Recorded {
  return { results, notes }
}

function result({ median, rival, spread = 0 }: { median: number; rival: number | null; spread?: number }): Result {
  const collector = new Collector()
  const samples = [median * (1 - spread), median * (1 - spread / 2), median, median * (1 + spread), median]
  const about = { label: 'first', subject: 'onecopy', unit: 'ms' } as const
  const ours = collector.figure({ ...about, id: 'first.onecopy' }, samples)
  collector.target('≤ 3 ms', { ours, value: median, atMost: 3 })
  if (rival !== null) {
    const other = collector.figure({ ...about, id: 'first.rival', subject: 'Rival' }, [rival, rival])
    collector.target('≥ 2×', { ours, rival: other, value: rival / median, atLeast: 2 })
  }
  collector.notMeasured('a third one', 'it is not here')
  collector.chart({
    id: 'chart',
    title: 'A chart',
    x: { label: '', values: ['a', 'b'] },
    y: { label: 'time', unit: 'ms' },
    series: [{ name: 'onecopy', values: [1, null] }],
  })
  return {
    schemaVersion: 1,
    benchmark: 'speed',
    claim: 'It is fast',
    size: 'short',
    date: '2026-01-02T03:04:05.000Z',
    seconds: 1,
    environment: {
      node: 'v20.0.0',
      platform: 'linux-x64',
      kernel: '6.0',
      cpu: 'a processor',
      cores: 2,
      memoryBytes: 8e9,
      filesystem: 'ext4',
      transparentHugePages: null,
      loadAverage: 0,
      commit: null,
      dirty: null,
    },
    ...collector.findings,
  }
}
