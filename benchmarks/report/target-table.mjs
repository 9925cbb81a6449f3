// @ts-check
import { formatValue } from '../harness/table.mjs'
import { table } from './markdown.mjs'

/** @typedef {import('../harness/result.mjs').Result} Result */
/** @typedef {import('../harness/result.mjs').Figure} Figure */
/** @typedef {import('../targets.mjs').Row} Row */
/** @typedef {import('../targets.mjs').MeasuredRow} MeasuredRow */
/** @typedef {'met' | 'missed' | 'not measured' | 'shown by a test'} Outcome */

const NOTHING = '–'

/**
 * The promises with what was measured of them.
 *
 * @param {readonly Row[]} rows
 * @param {import('./recorded.mjs').Recorded} recorded
 * @returns {string[]} paragraphs
 */
export function targetParagraphs(rows, { results, notes }) {
  const answers = rows.map((row) => ({ row, ...answer(row, results) }))
  const count = (/** @type {Outcome} */ which) => answers.filter(({ outcome }) => outcome === which).length
  const summary =
    `Of ${rows.length} promises ${count('met')} are met, ${count('missed')} missed and ${count('not measured')} not ` +
    `measured; ${count('shown by a test')} no figure can show. A comparison is of the same rounds of one run: the median of ` +
    "the rounds' ratios."
  const missed = answers.filter(({ outcome }) => outcome === 'missed')
  return [
    summary,
    table(
      ['target', 'rival', 'ours', 'ratio', 'met?'],
      answers.flatMap(({ lines }) => lines),
    ),
    ...missed.flatMap(({ row }) => [`### Missed: ${row.what}`, notes.get(row.id) ?? 'Nobody has explained this yet.']),
  ]
}

/**
 * @param {Row} row
 * @param {readonly Result[]} results
 * @returns {{ outcome: Outcome, lines: string[][] }}
 */
function answer(row, results) {
  const title = `**${row.what}**: ${row.promise}`
  if ('test' in row) {
    const where = `no figure can show it; [${row.test}](../${row.test}), “${row.name}”, fails when it does not hold`
    return { outcome: 'shown by a test', lines: [[title, NOTHING, where, NOTHING, 'shown by a test']] }
  }
  const result = results.find(({ benchmark }) => benchmark === row.benchmark)
  const held = result?.targets.filter(({ ours }) => ours.startsWith(row.figures)) ?? []
  const lines = held.map((target) => {
    const line = row.parts === 1 && held.length === 1 ? title : `**${row.what}**: ${target.text}`
    return lineOf(/** @type {Result} */ (result), target, line)
  })
  if (held.length < row.parts) {
    const why =
      result === undefined
        ? `no result is recorded: \`npm run bench -- --only ${row.benchmark}\``
        : `${row.parts - held.length} of ${row.parts} comparisons, [why](#${row.benchmark})`
    lines.push([title, NOTHING, why, NOTHING, 'not measured here'])
  }
  if (held.some(({ met }) => !met)) return { outcome: 'missed', lines }
  return { outcome: held.length < row.parts ? 'not measured' : 'met', lines }
}

/**
 * @param {Result} result
 * @param {import('../harness/result.mjs').Target} target
 * @param {string} title
 */
function lineOf({ figures }, { ours, rival, value, bound, limit, met }, title) {
  const find = (/** @type {string | null} */ id) => figures.find((figure) => figure.id === id)
  const [own, other] = [find(ours), find(rival)]
  const held = `${formatValue(value, 'ratio')} (${bound} ${formatValue(limit, 'ratio')})`
  return [
    title,
    other ? `${other.subject}: ${median(other)}` : NOTHING,
    own ? median(own) : NOTHING,
    held,
    met ? 'yes' : '**no**',
  ]
}

/** @param {Figure} figure */
function median(figure) {
  const text = formatValue(figure.median, figure.unit)
  return figure.noisy ? `${text} (noisy: spread ${percent(figure.spread)})` : text
}

/** @param {number} share */
export function percent(share) {
  return `${(100 * share).toFixed(0)} %`
}
