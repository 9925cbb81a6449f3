/** Units of accelerate's `convert_file_size_to_int`, in bytes. */
const UNITS: Readonly<Record<string, number>> = { GIB: 2 ** 30, MIB: 2 ** 20, KIB: 2 ** 10, GB: 1e9, MB: 1e6, KB: 1e3 }

const SIZE = /^\s*((?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)\s*([gmk]i?b)$/i

/**
 * Reads a size as accelerate does: a number of bytes, or a text such as `10GiB` or `5.0GB`, in which a small b behind a
 * decimal unit means bits, so `20Gb` is 2.5 GB.
 *
 * @returns whole bytes, rounded down; null for what is no size
 */
export function parseByteSize(size: unknown): number | null {
  if (typeof size === 'number') return Number.isSafeInteger(size) && size >= 0 ? size : null
  const parts = typeof size === 'string' ? SIZE.exec(size) : null
  if (parts === null) return null
  const [, digits, unit] = parts as unknown as [string, string, string]
  const bytes = Math.floor(Number(digits) * UNITS[unit.toUpperCase()]!)
  const inBits = unit.length === 2 && unit.endsWith('b')
  const whole = inBits ? Math.floor(bytes / 8) : bytes
  return Number.isSafeInteger(whole) ? whole : null
}
