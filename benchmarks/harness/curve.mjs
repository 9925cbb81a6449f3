// @ts-check
// How a cost grows: the power of x that fits it best, and where that power changes.
import { quantile, seededRandom } from './statistics.mjs'

const RESAMPLINGS = 500

/** Powers on both sides of a bend differ by at least this; less is the bow of any curve. */
const LEAST_TURN = 0.2

/**
 * The exponent of the power of x that fits best: the slope of the straight line through the logarithms.
 *
 * @param {readonly number[]} xs above 0
 * @param {readonly number[]} ys above 0, of the same length
 * @returns {number} 0: y does not depend on x, 1: it grows as x does
 */
export function fitExponent(xs, ys) {
  return fitLine(xs.map(Math.log), ys.map(Math.log)).slope
}

/**
 * The point at which the curve turns most: the one where two straight lines through the logarithms, one up to it and one
 * from it on, fit best.
 *
 * @param {readonly number[]} xs ascending
 * @param {readonly (readonly number[])[]} samples for each x, one for each round
 * @returns {{ at: number, before: number, after: number } | null} exponents on both sides; null where there is no bend to
 * speak of, where it may be noise, and where there are fewer than four points
 */
export function findBend(xs, samples) {
  if (xs.length < 4) return null
  const x = xs.map(Math.log)
  const turnAt = (/** @type {number} */ at, /** @type {readonly number[]} */ y) => {
    const before = fitLine(x.slice(0, at + 1), y.slice(0, at + 1))
    const after = fitLine(x.slice(at), y.slice(at))
    return { at, before: before.slope, after: after.slope, error: before.error + after.error }
  }
  const y = medians(samples).map(Math.log)
  const turns = xs.slice(2).map((_, at) => turnAt(at + 1, y))
  const { at, before, after } = turns.reduce((best, turn) => (turn.error < best.error ? turn : best))
  if (Math.abs(after - before) < LEAST_TURN) return null
  // A turn that could as well go the other way is none.
  const drawn = resample(samples, (each) => {
    const turn = turnAt(at, each.map(Math.log))
    return turn.after - turn.before
  })
  const [low, high] = [quantile(drawn, 0.025), quantile(drawn, 0.975)]
  return low > 0 || high < 0 ? { at: xs[at] ?? 0, before, after } : null
}

/**
 * A 95% bootstrap interval of the exponent of the medians: rounds are drawn anew, all points of a round together.
 *
 * @param {readonly number[]} xs
 * @param {readonly (readonly number[])[]} samples for each x, one for each round
 * @returns {{ exponent: number, low: number, high: number }}
 */
export function exponentOf(xs, samples) {
  const drawn = resample(samples, (ys) => fitExponent(xs, ys))
  return {
    exponent: fitExponent(xs, medians(samples)),
    low: quantile(drawn, 0.025),
    high: quantile(drawn, 0.975),
  }
}

/** @param {readonly (readonly number[])[]} samples */
function medians(samples) {
  return samples.map((list) => quantile(list, 0.5))
}

/**
 * What comes out for the medians of rounds that are drawn anew.
 *
 * @param {readonly (readonly number[])[]} samples
 * @param {(medians: readonly number[]) => number} compute
 * @returns {number[]}
 */
function resample(samples, compute) {
  const rounds = Math.min(...samples.map(({ length }) => length))
  const random = seededRandom(rounds)
  return Array.from({ length: RESAMPLINGS }, () => {
    const drawn = Array.from({ length: rounds }, () => Math.floor(random() * rounds))
    return compute(medians(samples.map((list) => drawn.map((round) => list[round] ?? Number.NaN))))
  })
}

/**
 * Least squares.
 *
 * @param {readonly number[]} xs
 * @param {readonly number[]} ys
 */
function fitLine(xs, ys) {
  const mean = (/** @type {readonly number[]} */ values) =>
    values.reduce((sum, value) => sum + value, 0) / values.length
  const [x, y] = [mean(xs), mean(ys)]
  const along = xs.reduce((sum, value) => sum + (value - x) ** 2, 0)
  const slope = xs.reduce((sum, value, at) => sum + (value - x) * ((ys[at] ?? 0) - y), 0) / along
  const error = xs.reduce((sum, value, at) => sum + ((ys[at] ?? 0) - y - slope * (value - x)) ** 2, 0)
  return { slope, error }
}
