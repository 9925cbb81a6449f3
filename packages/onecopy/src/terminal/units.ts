const BINARY_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

/** A size with three significant digits or more and its unit, in powers of two: `1.00 GiB`, `512 B`. */
export function formatBytes(byteLength: number): string {
  let value = byteLength
  let unit = 0
  // What would be shown as 1024 of a unit is 1 of the next.
  while (unit < BINARY_UNITS.length - 1 && Number(value.toFixed(digitsFor(value, unit))) >= 1024) {
    value /= 1024
    unit++
  }
  return `${value.toFixed(digitsFor(value, unit))} ${BINARY_UNITS[unit]!}`
}

function digitsFor(value: number, unit: number): number {
  if (unit === 0) return 0
  return value < 9.995 ? 2 : 1
}

/** A size with its exact bytes behind it where the unit hides them: `1.00 GiB (1,073,741,824 bytes)`. */
export function formatBytesExactly(byteLength: number): string {
  return byteLength < 1024
    ? `${byteLength} ${byteLength === 1 ? 'byte' : 'bytes'}`
    : `${formatBytes(byteLength)} (${formatInteger(byteLength)} bytes)`
}

/** An integer with commas between thousands, whatever the locale. */
export function formatInteger(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ',')
}

/** `1 tensor`, `1,234 tensors`, `3 processes`. */
export function formatCount(count: number, noun: string, plural = `${noun}s`): string {
  return `${formatInteger(count)} ${count === 1 ? noun : plural}`
}

const DECIMAL_SUFFIXES = [
  [1e12, 'T'],
  [1e9, 'B'],
  [1e6, 'M'],
  [1e3, 'K'],
] as const

/** Parameters as model cards count them: `7.24 B`, `109 M`; below a thousand the number itself. */
export function formatParameters(count: number): string {
  for (const [size, suffix] of DECIMAL_SUFFIXES) {
    if (count >= size * 0.9995) return `${(count / size).toPrecision(3)} ${suffix}`
  }
  return String(count)
}

/** A duration with its unit: `0.84 ms`, `52.1 ms`, `1.51 s`. */
export function formatMs(milliseconds: number): string {
  if (milliseconds < 9.995) return `${milliseconds.toFixed(2)} ms`
  if (milliseconds < 999.5) return `${milliseconds.toFixed(milliseconds < 99.95 ? 1 : 0)} ms`
  return `${(milliseconds / 1000).toFixed(milliseconds < 99_950 ? 2 : 1)} s`
}

/** Bytes a second: `1.52 GiB/s`. */
export function formatRate(byteLength: number, milliseconds: number): string {
  return `${formatBytes(Math.round(byteLength / (Math.max(milliseconds, 0.001) / 1000)))}/s`
}

const SIZE = /^(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b?|b)?$/i

/** The bytes that a text such as `1GiB`, `512 MiB`, `1.5GB` or `4096` names; null when it names none. */
export function parseByteLength(text: string): number | null {
  const match = SIZE.exec(text.trim())
  if (match === null) return null
  const [, number, prefix, binary] = match
  const power = prefix === undefined ? 0 : 'kmgt'.indexOf(prefix.toLowerCase()) + 1
  // `1G` alone means the power of two, as dd, truncate and Docker take it; only `1GB` is the power of ten.
  const decimal = binary === '' && /b$/i.test(text.trim())
  const bytes = Math.round(Number(number) * (decimal ? 1000 : 1024) ** power)
  return Number.isSafeInteger(bytes) ? bytes : null
}

const AGE_UNITS = [
  [86_400, 'd', 3600, 'h'],
  [3600, 'h', 60, 'min'],
  [60, 'min', 1, 's'],
] as const

/** A time span for people, in its two largest units: `8 s`, `3 min 20 s`, `2 h 5 min`, `4 d 1 h`. */
export function formatAge(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000)
  for (const [size, unit, smallerSize, smallerUnit] of AGE_UNITS) {
    if (seconds < size) continue
    const rest = Math.floor((seconds % size) / smallerSize)
    return `${Math.floor(seconds / size)} ${unit}${rest === 0 ? '' : ` ${rest} ${smallerUnit}`}`
  }
  return `${seconds} s`
}
