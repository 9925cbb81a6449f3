// @ts-check
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { problemsOf } from '../harness/check-result.mjs'

/** @typedef {import('../harness/result.mjs').Result} Result */

/**
 * @typedef {object} Recorded what the page is made from
 * @property {readonly Result[]} results of benchmarks, in the order of the names
 * @property {ReadonlyMap<string, string>} notes by row of the targets
 */

/**
 * @param {{ results: string, notes: string }} folders
 * @param {readonly string[]} names of all benchmarks
 * @returns {Recorded}
 * @throws {Error} when a result is not as its schema says: a page that shows half of one would be false
 */
export function readRecorded(folders, names) {
  /** @type {Result[]} */
  const results = []
  for (const file of filesIn(folders.results, '.json')) {
    const content = JSON.parse(readFileSync(join(folders.results, file), 'utf8'))
    const problems = problemsOf(content)
    if (problems.length > 0) throw new Error(`Cannot report ${file}: ${problems.join('; ')}`)
    results.push(content)
  }
  const place = (/** @type {Result} */ { benchmark }) =>
    names.includes(benchmark) ? names.indexOf(benchmark) : names.length
  results.sort((a, b) => place(a) - place(b))
  const notes = new Map(
    filesIn(folders.notes, '.md').map((file) => [
      file.slice(0, -'.md'.length),
      readFileSync(join(folders.notes, file), 'utf8').trim(),
    ]),
  )
  return { results, notes }
}

/** @param {string} folder @param {string} ending */
function filesIn(folder, ending) {
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .filter((name) => name.endsWith(ending))
    .sort()
}
