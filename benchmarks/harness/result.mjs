// @ts-check
// What a benchmark hands in and what stands in benchmarks/results/<name>.json. The types here are the schema.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pairedRatio, summarize } from './statistics.mjs'

/** Of the result files; a reader of another version must refuse. */
export const SCHEMA_VERSION = 1

/** @typedef {'ms' | 'µs' | 'ns' | 'bytes' | 'GB/s' | 'count' | 'ratio'} Unit */

/**
 * @typedef {object} Figure one thing that was measured
 * @property {string} id unique in its file, such as `open-291.first.onecopy`
 * @property {string} label what it is, for a reader who sees nothing else
 * @property {string} subject whose figure it is: `onecopy`, or the rival's name with its version
 * @property {Unit} unit
 * @property {'lower' | 'higher'} better
 * @property {'warm' | 'cold' | null} pageCache state of the checkpoint's pages when the clock started; null: reads no file
 * @property {number} trials
 * @property {number} median
 * @property {number} p99 the largest sample where there are fewer than a hundred
 * @property {number} min
 * @property {number} max
 * @property {number} spread interquartile range ÷ median
 * @property {boolean} noisy the spread is above the harness's limit: the figure goes with a warning
 * @property {number[]} samples in the order of the rounds
 */

/**
 * @typedef {object} Ratio two figures compared
 * @property {string} label
 * @property {string} numerator id of a figure
 * @property {string} denominator id of a figure
 * @property {number} ratio median of the rounds' ratios, which is not the ratio of the two medians
 * @property {number} low of the 95% bootstrap interval
 * @property {number} high
 */

/**
 * @typedef {object} Target one line of the table target | rival | ours | met?
 * @property {string} text what is promised, such as `≤ 3 ms`
 * @property {string} ours id of a figure
 * @property {string | null} rival id of a figure; null for a promise that is no comparison
 * @property {number} value what is held against the limit
 * @property {number} limit
 * @property {'at most' | 'at least'} bound
 * @property {boolean} met
 */

/** @typedef {{ what: string, reason: string }} NotMeasured */

/**
 * @typedef {object} Chart data of one chart; `null` leaves a gap
 * @property {string} id
 * @property {string} title
 * @property {{ label: string, values: (string | number)[], log?: boolean }} x
 * @property {{ label: string, unit: Unit, log?: boolean }} y
 * @property {{ name: string, values: (number | null)[] }[]} series
 */

/**
 * @typedef {object} Findings what a benchmark's `run` gives
 * @property {Figure[]} figures
 * @property {Ratio[]} ratios
 * @property {Target[]} targets
 * @property {NotMeasured[]} notMeasured never a made-up figure
 * @property {Chart[]} charts
 * @property {string[]} notes what a reader must know to judge the figures
 */

/** @typedef {'tiny' | 'short' | 'full'} Size */

/**
 * @typedef {object} Origin
 * @property {typeof SCHEMA_VERSION} schemaVersion
 * @property {string} benchmark
 * @property {string} claim
 * @property {Size} size `tiny` figures prove only that the benchmark runs
 * @property {string} date when it ended, ISO 8601
 * @property {number} seconds how long it took
 * @property {import('./environment.mjs').Environment} environment
 */

/** @typedef {Origin & Findings} Result */

/** Collects a benchmark's findings, and computes what follows from the samples. */
export class Collector {
  /** @type {Findings} */
  findings = { figures: [], ratios: [], targets: [], notMeasured: [], charts: [], notes: [] }

  /**
   * @param {Pick<Figure, 'id' | 'label' | 'subject' | 'unit'> & Partial<Pick<Figure, 'better' | 'pageCache'>>} about
   * @param {number[]} samples
   * @returns {Figure}
   */
  figure({ better = 'lower', pageCache = null, ...about }, samples) {
    if (this.#find(about.id) !== undefined) throw new Error(`There are two figures "${about.id}", ids must be unique`)
    const figure = { ...about, better, pageCache, trials: samples.length, ...summarize(samples), samples }
    this.findings.figures.push(figure)
    return figure
  }

  /**
   * @param {string} label
   * @param {Figure} numerator
   * @param {Figure} denominator
   * @returns {Ratio}
   */
  ratio(label, numerator, denominator) {
    const computed = pairedRatio(numerator.samples, denominator.samples)
    const ratio = { label, numerator: numerator.id, denominator: denominator.id, ...computed }
    this.findings.ratios.push(ratio)
    return ratio
  }

  /**
   * @param {string} text
   * @param {{ ours: Figure, rival?: Figure, value: number } & ({ atMost: number } | { atLeast: number })} held
   */
  target(text, { ours, rival, value, ...bounds }) {
    const upper = 'atMost' in bounds
    const limit = upper ? bounds.atMost : bounds.atLeast
    const met = upper ? value <= limit : value >= limit
    const bound = upper ? 'at most' : 'at least'
    this.findings.targets.push({ text, ours: ours.id, rival: rival?.id ?? null, value, limit, bound, met })
  }

  /** @param {string} what @param {string} reason */
  notMeasured(what, reason) {
    this.findings.notMeasured.push({ what, reason })
  }

  /** @param {Chart} chart */
  chart(chart) {
    this.findings.charts.push(chart)
  }

  /** @param {string} text */
  note(text) {
    this.findings.notes.push(text)
  }

  /** @param {string} id */
  #find(id) {
    return this.findings.figures.find((figure) => figure.id === id)
  }
}

/**
 * @param {string} folder
 * @param {Result} result
 * @returns {string} its path
 */
export function writeResult(folder, result) {
  mkdirSync(folder, { recursive: true })
  const path = join(folder, `${result.benchmark}.json`)
  writeFileSync(path, `${JSON.stringify(result, roundNumbers, 2)}\n`)
  return path
}

/**
 * Six significant digits are more than any clock here is worth; of large numbers, such as bytes, none before the point goes.
 *
 * @param {string} _key
 * @param {unknown} value
 */
function roundNumbers(_key, value) {
  if (typeof value !== 'number' || Number.isInteger(value)) return value
  return Math.abs(value) >= 1e5 ? Math.round(value) : Number(value.toPrecision(6))
}
