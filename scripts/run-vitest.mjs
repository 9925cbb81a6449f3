// @ts-check
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runChild } from './run-child.mjs'
import { ROOT } from './setup.mjs'

/** @typedef {{ passed: number, failed: number, skipped: number }} Counts */

/**
 * @typedef {object} Report the part of vitest's json report that is read here
 * @property {number} numPassedTests
 * @property {number} numFailedTests
 * @property {number} numPendingTests
 * @property {number} numTodoTests
 * @property {{ status: string, assertionResults: { status: string }[] }[]} testResults one for each file
 */

/**
 * Runs vitest under a given node and counts what it did.
 *
 * @param {readonly string[]} args vitest's own, such as names of files
 * @param {{ node?: string, env?: NodeJS.ProcessEnv, output: 'capture' | 'inherit' }} options
 * @returns {Promise<Counts & { output: string, seconds: number }>}
 */
export async function runVitest(args, { node = process.execPath, env, output }) {
  const directory = mkdtempSync(join(tmpdir(), 'onecopy-test-'))
  const reportFile = join(directory, 'report.json')
  const vitest = join(ROOT, 'node_modules', 'vitest', 'vitest.mjs')
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${reportFile}`]
  try {
    const child = await runChild(node, [vitest, 'run', ...reporters, ...args], { cwd: ROOT, env, output })
    const counts = countTests(readReport(reportFile), child.code)
    return { ...counts, output: child.output, seconds: child.seconds }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/**
 * A file that does not load, a crash, an unhandled error and a run without a single test have no failed test of their
 * own, and must not look like success: each counts as one.
 *
 * @param {Report | null} report null when vitest ended before it wrote one
 * @param {number} code vitest's exit code
 * @returns {Counts}
 */
export function countTests(report, code) {
  if (report === null) return { passed: 0, failed: 1, skipped: 0 }
  const passed = report.numPassedTests
  const skipped = report.numPendingTests + report.numTodoTests
  const brokenFiles = report.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  ).length
  const failed = report.numFailedTests + brokenFiles
  const silentFailure = failed === 0 && (code !== 0 || passed === 0)
  return { passed, failed: silentFailure ? 1 : failed, skipped }
}

/**
 * @param {string} path
 * @returns {Report | null}
 */
function readReport(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return null
  }
}

/**
 * @param {Counts} counts
 * @returns {string} `12 passed, 0 failed`, with `, 3 skipped` only where something was
 */
export function formatCounts({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}
