// @ts-check
import { SCHEMA_VERSION } from './result.mjs'

const UNITS = ['ms', 'µs', 'ns', 'bytes', 'GB/s', 'count', 'ratio']

/**
 * What is wrong with a result, one line each: for the tests, and for the page that is made from the files.
 *
 * @param {any} result parsed JSON
 * @returns {string[]}
 */
export function problemsOf(result) {
  /** @type {string[]} */
  const problems = []
  /** @param {boolean} holds @param {string} otherwise */
  const check = (holds, otherwise) => {
    if (!holds) problems.push(otherwise)
  }
  check(
    result?.schemaVersion === SCHEMA_VERSION,
    `schemaVersion is ${result?.schemaVersion}, it must be ${SCHEMA_VERSION}`,
  )
  if (problems.length > 0) return problems
  for (const name of ['benchmark', 'claim']) check(isText(result[name]), `${name} must be a text`)
  check(['tiny', 'short', 'full'].includes(result.size), `size is ${result.size}`)
  check(!Number.isNaN(Date.parse(result.date)), `date is ${result.date}`)
  check(isText(result.environment?.node) && isText(result.environment?.cpu), 'environment must name node and cpu')
  check(result.environment?.cores > 0, 'environment must name the number of cores')
  for (const name of ['figures', 'ratios', 'targets', 'notMeasured', 'charts', 'notes']) {
    check(Array.isArray(result[name]), `${name} must be an array`)
  }
  if (problems.length > 0) return problems

  const ids = new Set(result.figures.map((/** @type {{ id: string }} */ { id }) => id))
  check(ids.size === result.figures.length, 'ids of figures must be unique')
  check(result.figures.length > 0, 'there must be at least one figure')
  for (const figure of result.figures) problems.push(...problemsOfFigure(figure))
  for (const { label, numerator, denominator, ratio, low, high } of result.ratios) {
    check(ids.has(numerator) && ids.has(denominator), `ratio "${label}" compares figures that there are not`)
    check(ratio > 0 && low <= high && Number.isFinite(high), `ratio "${label}" is ${ratio}, from ${low} to ${high}`)
  }
  for (const { text, ours, rival, value, met } of result.targets) {
    check(ids.has(ours) && (rival === null || ids.has(rival)), `target "${text}" is of figures that there are not`)
    check(Number.isFinite(value) && typeof met === 'boolean', `target "${text}" has no outcome`)
  }
  for (const { what, reason } of result.notMeasured) {
    check(isText(what) && isText(reason), `what was not measured must have its reason: ${what}`)
  }
  for (const { id, x, series } of result.charts) {
    const fits = series.every((/** @type {{ values: unknown[] }} */ { values }) => values.length === x.values.length)
    check(fits, `chart "${id}" has a series that is not as long as its x axis`)
  }
  return problems
}

/** @param {any} figure */
function problemsOfFigure(figure) {
  const { id, label, subject, unit, better, pageCache, trials, median, p99, min, max, spread, noisy, samples } = figure
  const fits =
    [id, label, subject].every(isText) &&
    UNITS.includes(unit) &&
    ['lower', 'higher'].includes(better) &&
    ['warm', 'cold', null].includes(pageCache) &&
    Array.isArray(samples) &&
    samples.every(Number.isFinite) &&
    samples.length === trials &&
    trials > 0 &&
    min <= median &&
    median <= max &&
    p99 <= max &&
    spread >= 0 &&
    typeof noisy === 'boolean'
  return fits ? [] : [`figure "${id}" is not as the schema says: ${JSON.stringify(figure)}`]
}

/** @param {unknown} value */
function isText(value) {
  return typeof value === 'string' && value !== ''
}
