// @ts-check
import { describeEnvironment } from './environment.mjs'
import { SCHEMA_VERSION } from './result.mjs'

/** @typedef {import('./result.mjs').Size} Size */

/**
 * @typedef {object} RunOptions what a benchmark is run with
 * @property {Size} size
 * @property {import('./scratch.mjs').Scratch} scratch folders for what it makes
 * @property {boolean} mayInstall whether Python packages may be fetched; otherwise only what is there is used
 * @property {(text: string) => void} log progress, for whoever watches
 */

/**
 * @typedef {object} Benchmark
 * @property {string} name of its file here and in benchmarks/results
 * @property {string} claim the one thing it holds true or false
 * @property {(options: RunOptions) => Promise<import('./result.mjs').Findings>} run
 */

/**
 * @param {Benchmark} benchmark
 * @param {RunOptions} options
 * @returns {Promise<import('./result.mjs').Result>}
 */
export async function runBenchmark({ name, claim, run }, options) {
  const environment = describeEnvironment(options.scratch.cache)
  const started = performance.now()
  const findings = await run(options)
  return {
    schemaVersion: SCHEMA_VERSION,
    benchmark: name,
    claim,
    size: options.size,
    date: new Date().toISOString(),
    seconds: (performance.now() - started) / 1000,
    environment,
    ...findings,
  }
}

/**
 * One of three by size, so that every number that differs stands in one line.
 *
 * @template T
 * @param {Size} size
 * @param {{ readonly tiny: T, readonly short: T, readonly full: T }} choices
 * @returns {T}
 */
export function bySize(size, choices) {
  return choices[size]
}
