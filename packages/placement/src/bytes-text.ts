const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const

/** Bytes in the decimal unit that gives one to three digits before the point: `1.53 GB`. */
export function bytesText(bytes: number): string {
  let unit = 0
  let value = bytes
  // What would be rounded up to 1000 is one of the next unit.
  while (Number(value.toPrecision(3)) >= 1000 && unit < UNITS.length - 1) {
    value /= 1000
    unit++
  }
  return unit === 0 ? `${bytes} B` : `${value.toPrecision(3)} ${UNITS[unit]}`
}
