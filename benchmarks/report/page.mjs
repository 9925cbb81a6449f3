// @ts-check
import { drawChart } from '../harness/chart.mjs'
import { NOISE_LIMIT } from '../harness/statistics.mjs'
import { formatValue } from '../harness/table.mjs'
import { folded, list, table } from './markdown.mjs'
import { percent, targetParagraphs } from './target-table.mjs'

/** @typedef {import('../harness/result.mjs').Result} Result */
/** @typedef {import('../harness/result.mjs').Chart} Chart */

/** A longer table is folded away, so that the next benchmark can be found. */
const LONG_TABLE = 24

/**
 * docs/benchmarks.md with its charts: the same texts for the same results.
 *
 * @param {import('./recorded.mjs').Recorded} recorded
 * @param {{ rows: readonly import('../targets.mjs').Row[], names: readonly string[] }} about names: of all benchmarks
 * @returns {Map<string, string>} text by path below docs/
 */
export function drawPage(recorded, { rows, names }) {
  const { results } = recorded
  /** @type {Map<string, string>} */
  const files = new Map()
  const absent = names.filter((name) => !results.some(({ benchmark }) => benchmark === name))
  const paragraphs = [
    '# Benchmarks',
    '<!-- Made by `npm run bench:report` from benchmarks/results/: change the results, not this file. -->',
    'Every figure here was measured by a program of [benchmarks/](../benchmarks) and stands in a file of ' +
      '[benchmarks/results/](../benchmarks/results) with all its samples; `npm run bench` measures yours. ' +
      `A figure whose spread (interquartile range ÷ median) is above ${percent(NOISE_LIMIT)} is marked as noisy.`,
    ...environments(results),
    '## Targets',
    ...targetParagraphs(rows, recorded),
    ...results.flatMap((result) => section(result, files)),
  ]
  if (absent.length > 0) paragraphs.push('## Others', `No result is recorded of: ${absent.join(', ')}.`)
  files.set('benchmarks.md', `${paragraphs.join('\n\n')}\n`)
  return files
}

/**
 * One line for each machine and commit, with what was measured there.
 *
 * @param {readonly Result[]} results
 */
function environments(results) {
  /** @type {Map<string, string[]>} */
  const benchmarks = new Map()
  for (const { environment, benchmark } of results) {
    const line = environmentLine(environment)
    benchmarks.set(line, [...(benchmarks.get(line) ?? []), benchmark])
  }
  if (benchmarks.size === 0) return []
  return [list([...benchmarks].map(([line, names]) => `**${names.join(', ')}**: ${line}`))]
}

/** @param {import('../harness/environment.mjs').Environment} environment */
function environmentLine({
  node,
  platform,
  kernel,
  cpu,
  cores,
  memoryBytes,
  filesystem,
  transparentHugePages,
  commit,
  dirty,
}) {
  const parts = [
    `Node.js ${node}`,
    `${platform}, kernel ${kernel}`,
    `${cores} cores of ${cpu}`,
    `${formatValue(memoryBytes, 'bytes')} of memory`,
    filesystem,
    ...(transparentHugePages === null ? [] : [`transparent huge pages ${transparentHugePages}`]),
    ...(commit === null ? [] : [`commit ${commit.slice(0, 12)}${dirty ? ' with changes' : ''}`]),
  ]
  return parts.join(', ')
}

/**
 * @param {Result} result
 * @param {Map<string, string>} files takes the charts
 * @returns {string[]} paragraphs
 */
function section(result, files) {
  const { benchmark, claim, size, date, seconds, environment, figures, ratios, notMeasured, charts, notes } = result
  const load = `load average before it ${environment.loadAverage.toFixed(1)}`
  const noisy = figures.filter((figure) => figure.noisy).length
  const paragraphs = [
    `## ${benchmark}`,
    `**${claim}.**`,
    `Measured on ${day(date)}, the ${size} set, ${seconds.toFixed(0)} s, ${load}: ` +
      `[${benchmark}.json](../benchmarks/results/${benchmark}.json).`,
  ]
  if (noisy > 0) {
    paragraphs.push(
      `> **Warning:** ${noisy} of ${figures.length} figures are noisy. What they say of each other, in one round, is worth ` +
        'more than what each says alone.',
    )
  }
  for (const chart of charts) {
    const path = chartPath(benchmark, chart.id)
    if (files.has(path)) throw new Error(`There are two charts "${path}", ids must be unique`)
    files.set(path, sameNames(drawChart(chart)))
    paragraphs.push(`![${chart.title}](${path})`)
  }
  paragraphs.push(long('figures', figures.length, figureTable(figures)))
  if (ratios.length > 0) {
    const lines = ratios.map(({ label, ratio, low, high }) => [
      label,
      `${two(ratio)}×`,
      `${two(low)}× to ${two(high)}×`,
    ])
    paragraphs.push(long('comparisons', ratios.length, table(['comparison', 'ratio', '95% interval'], lines)))
  }
  if (notMeasured.length > 0) {
    paragraphs.push('Not measured here:', list(notMeasured.map(({ what, reason }) => `${what}: ${reason}`)))
  }
  if (notes.length > 0) paragraphs.push(list(notes))
  return paragraphs
}

/** @param {Result['figures']} figures */
function figureTable(figures) {
  const heads = ['what', 'whose', 'median', 'p99', 'spread', 'trials', 'page cache']
  const lines = figures.map(({ label, subject, unit, median, p99, spread, noisy, trials, pageCache }) => [
    label,
    subject,
    formatValue(median, unit),
    formatValue(p99, unit),
    noisy ? `**${percent(spread)}, noisy**` : percent(spread),
    `${trials}`,
    pageCache ?? '',
  ])
  return table(heads, lines)
}

/** @param {string} what @param {number} rows @param {string} text */
function long(what, rows, text) {
  return rows > LONG_TABLE ? folded(`${rows} ${what}`, text) : text
}

/** @param {string} benchmark @param {string} id */
function chartPath(benchmark, id) {
  return `benchmarks/${id.startsWith(benchmark) ? id : `${benchmark}-${id}`}.svg`
}

/**
 * The names of classes inside a drawing are counted through all drawings of a process; here each begins anew.
 *
 * @param {string} svg
 */
function sameNames(svg) {
  /** @type {Map<string, string>} */
  const names = new Map()
  return svg.replaceAll(/\bzr\d+-([a-z]+)-?\d*/g, (name, kind) => {
    const known = names.get(name) ?? `${kind}-${names.size}`
    names.set(name, known)
    return known
  })
}

/** @param {string} date ISO 8601 */
function day(date) {
  return date.slice(0, 10)
}

/** @param {number} ratio */
function two(ratio) {
  return formatValue(ratio, 'ratio')
}
