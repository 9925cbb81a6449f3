// @ts-check
/** Above this spread (interquartile range ÷ median) a figure is printed with a warning. */
export const NOISE_LIMIT = 0.15

/** Resamplings behind an interval: enough that its ends stand still in the digits that are shown. */
const RESAMPLINGS = 2000

/**
 * @typedef {object} Summary
 * @property {number} median
 * @property {number} p99 the largest sample where there are fewer than a hundred
 * @property {number} min
 * @property {number} max
 * @property {number} spread interquartile range ÷ median; 0 where the median is 0
 * @property {boolean} noisy the spread is above NOISE_LIMIT
 */

/**
 * @param {readonly number[]} samples
 * @param {number} share from 0 to 1
 * @returns {number} the quantile, interpolated between the two samples around it
 */
export function quantile(samples, share) {
  const sorted = [...samples].sort((a, b) => a - b)
  if (sorted.length === 0) throw new RangeError('Cannot take a quantile of 0 samples, at least 1 is required')
  const at = (sorted.length - 1) * share
  const below = sorted[Math.floor(at)] ?? Number.NaN
  const above = sorted[Math.ceil(at)] ?? Number.NaN
  return below + (above - below) * (at - Math.floor(at))
}

/** @param {readonly number[]} samples */
export function median(samples) {
  return quantile(samples, 0.5)
}

/**
 * @param {readonly number[]} samples
 * @returns {Summary}
 */
export function summarize(samples) {
  const middle = median(samples)
  const spread = middle === 0 ? 0 : (quantile(samples, 0.75) - quantile(samples, 0.25)) / Math.abs(middle)
  return {
    median: middle,
    p99: quantile(samples, 0.99),
    min: Math.min(...samples),
    max: Math.max(...samples),
    spread,
    noisy: spread > NOISE_LIMIT,
  }
}

/**
 * The median of the rounds' ratios, with the 95% bootstrap interval: what slowed a whole round down is in both of its
 * samples and cancels out, which it would not in the ratio of two medians.
 *
 * @param {readonly number[]} numerator
 * @param {readonly number[]} denominator of the same rounds
 * @returns {{ ratio: number, low: number, high: number }}
 */
export function pairedRatio(numerator, denominator) {
  if (numerator.length !== denominator.length) {
    throw new RangeError(
      `Cannot pair ${numerator.length} samples with ${denominator.length}, both must be of the same rounds`,
    )
  }
  const ratios = numerator.map((value, round) => value / (denominator[round] ?? Number.NaN))
  const random = seededRandom(1)
  const medians = Array.from({ length: RESAMPLINGS }, () =>
    median(ratios.map(() => ratios[Math.floor(random() * ratios.length)] ?? Number.NaN)),
  )
  return { ratio: median(ratios), low: quantile(medians, 0.025), high: quantile(medians, 0.975) }
}

/**
 * Numbers from 0 up to 1 that are the same in every run (mulberry32): a result file can be computed again.
 *
 * @param {number} seed
 */
export function seededRandom(seed) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
