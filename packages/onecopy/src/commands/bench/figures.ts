/** Above this spread (interquartile range ÷ median) a figure has a warning beside it. */
export const SPREAD_LIMIT = 0.15

/** One measured quantity: what several trials gave. */
export interface Figure {
  readonly unit: 'ms' | 'bytes' | 'faults'
  readonly median: number
  readonly p99: number
  readonly min: number
  readonly max: number
  /** Interquartile range ÷ median; null for a single trial, which says nothing about it. */
  readonly spread: number | null
  /** The spread is above the limit. */
  readonly noisy: boolean
  /** In the order in which they were measured. */
  readonly samples: readonly number[]
}

/** @throws RangeError when there is no sample */
export function figureOf(unit: Figure['unit'], samples: readonly number[]): Figure {
  const median = quantile(samples, 0.5)
  const range = quantile(samples, 0.75) - quantile(samples, 0.25)
  const spread = samples.length < 2 ? null : range === 0 ? 0 : range / Math.abs(median)
  return {
    unit,
    median,
    p99: quantile(samples, 0.99),
    min: Math.min(...samples),
    max: Math.max(...samples),
    spread,
    noisy: spread !== null && spread > SPREAD_LIMIT,
    samples,
  }
}

/** The figure of what trials measured, or null where one of them did not. */
export function figureOrNull(unit: Figure['unit'], samples: readonly (number | null)[]): Figure | null {
  const measured = samples.filter((sample) => sample !== null)
  return measured.length === 0 || measured.length < samples.length ? null : figureOf(unit, measured)
}

/** @returns the quantile, interpolated between the two samples around it */
export function quantile(samples: readonly number[], share: number): number {
  if (samples.length === 0) throw new RangeError('There are no samples; a quantile takes at least one')
  const sorted = samples.toSorted((a, b) => a - b)
  const at = (sorted.length - 1) * share
  const below = sorted[Math.floor(at)]!
  return below + (sorted[Math.ceil(at)]! - below) * (at - Math.floor(at))
}
