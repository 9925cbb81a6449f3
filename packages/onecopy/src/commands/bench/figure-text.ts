import { formatBytes, formatInteger, formatMs } from '../../terminal/units.ts'
import type { Figure } from './figures.ts'

/** What stands where a figure was not measured. */
export const NO_FIGURE = '–'

/** The median with its unit, and behind it the spread where that is above the limit. */
export function figureText(figure: Figure | null, quantity: 'median' | 'p99' = 'median'): string {
  if (figure === null) return NO_FIGURE
  const value = valueText(figure.unit, figure[quantity])
  return figure.noisy ? `${value} ⚠ ${percentText(figure.spread!)}` : value
}

export function valueText(unit: Figure['unit'], value: number): string {
  if (unit === 'faults') return formatInteger(Math.round(value))
  const text = unit === 'ms' ? formatMs : formatBytes
  return value < 0 ? `−${text(-value)}` : text(value)
}

export function percentText(share: number): string {
  return `${Math.round(share * 100)} %`
}

/** `1.93 ×`, with a warning where one of the figures that it is made of has one. */
export function timesText(times: number | null, ...from: readonly (Figure | null | undefined)[]): string {
  return times === null ? NO_FIGURE : withWarning(`${times.toFixed(2)} ×`, ...from)
}

/** A text that was made of figures. */
export function withWarning(text: string, ...from: readonly (Figure | null | undefined)[]): string {
  return from.some((figure) => figure?.noisy === true) ? `${text} ⚠` : text
}
