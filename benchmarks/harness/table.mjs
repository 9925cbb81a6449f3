// @ts-check
import { NOISE_LIMIT } from './statistics.mjs'

/** @typedef {import('./result.mjs').Figure} Figure */
/** @typedef {import('./result.mjs').Unit} Unit */

/**
 * @param {number} value
 * @param {Unit} unit
 */
export function formatValue(value, unit) {
  if (unit === 'bytes') {
    const [divisor, name] = Math.abs(value) >= 1e9 ? [1e9, 'GB'] : [1e6, 'MB']
    return `${(value / divisor).toFixed(2)} ${name}`
  }
  if (unit === 'count') return value.toLocaleString('en-US')
  const text = value.toPrecision(3)
  const plain = Math.abs(value) >= 1000 ? value.toFixed(0) : text.includes('e') ? value.toString() : text
  return unit === 'ratio' ? plain : `${plain} ${unit}`
}

/**
 * What a result says, as lines of text: figures, ratios, targets, and what was not measured.
 *
 * @param {import('./result.mjs').Result} result
 * @returns {string}
 */
export function formatResult(result) {
  const { benchmark, claim, figures, ratios, targets, notMeasured, notes, seconds } = result
  const rows = figures.map((figure) => [
    figure.label,
    figure.subject,
    formatValue(figure.median, figure.unit),
    formatValue(figure.p99, figure.unit),
    `${(100 * figure.spread).toFixed(0)} %`,
    figure.noisy ? `! noisy: spread above ${100 * NOISE_LIMIT} %` : '',
  ])
  return [
    `\n${benchmark}: ${claim} (${seconds.toFixed(0)} s)`,
    ...alignColumns([['', '', 'median', 'p99', 'spread', ''], ...rows]),
    ...ratios.map(({ label, ratio, low, high }) => `  ${label}: ${three(ratio)}× (${three(low)} to ${three(high)})`),
    ...targets.map(
      ({ text, value, bound, limit, met }) =>
        `  target ${text}: ${met ? 'met' : 'MISSED'} (${three(value)}, ${bound} ${three(limit)})`,
    ),
    ...notMeasured.map(({ what, reason }) => `  not measured here: ${what} (${reason})`),
    ...notes.map((note) => `  ${note}`),
  ].join('\n')
}

/** @param {number} value */
function three(value) {
  return formatValue(value, 'ratio')
}

/** @param {readonly (readonly string[])[]} rows */
function alignColumns(rows) {
  const widths = rows.reduce(
    (widest, row) => row.map((cell, at) => Math.max(widest[at] ?? 0, cell.length)),
    /** @type {number[]} */ ([]),
  )
  return rows.map((row) =>
    `  ${row.map((cell, at) => (at < 2 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))).join('  ')}`.trimEnd(),
  )
}
