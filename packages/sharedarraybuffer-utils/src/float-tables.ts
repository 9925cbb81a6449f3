import type { ConvertibleFormat } from './convert.ts'

/** Formats of at most 8 bits, whose every code has its float32 in a table. */
export type SmallFormat = Extract<
  ConvertibleFormat,
  | 'BOOL'
  | 'U8'
  | 'I8'
  | 'F4'
  | 'F6_E2M3'
  | 'F6_E3M2'
  | 'F8_E5M2'
  | 'F8_E4M3'
  | 'F8_E8M0'
  | 'F8_E4M3FNUZ'
  | 'F8_E5M2FNUZ'
>

/** The fields of a small float: a sign bit, then exponent, then fraction. */
interface FloatFields {
  readonly exponentBits: number
  readonly fractionBits: number
  readonly bias: number
  /**
   * What the codes at the top of the range mean: all finite (`none`), infinities and NaNs (`ieee`), no infinity and all
   * ones NaN (`fn`), or no infinity and NaN in the place of negative zero (`fnuz`).
   */
  readonly special: 'none' | 'ieee' | 'fn' | 'fnuz'
}

const FIELDS: Partial<Record<SmallFormat, FloatFields>> = {
  F4: { exponentBits: 2, fractionBits: 1, bias: 1, special: 'none' },
  F6_E2M3: { exponentBits: 2, fractionBits: 3, bias: 1, special: 'none' },
  F6_E3M2: { exponentBits: 3, fractionBits: 2, bias: 3, special: 'none' },
  F8_E5M2: { exponentBits: 5, fractionBits: 2, bias: 15, special: 'ieee' },
  F8_E4M3: { exponentBits: 4, fractionBits: 3, bias: 7, special: 'fn' },
  F8_E4M3FNUZ: { exponentBits: 4, fractionBits: 3, bias: 8, special: 'fnuz' },
  F8_E5M2FNUZ: { exponentBits: 5, fractionBits: 2, bias: 16, special: 'fnuz' },
}

const QUIET_NAN = 0x7fc00000
const INFINITY = 0x7f800000
const QUIET_BIT = 0x00400000
const SUBNORMAL_2_TO_MINUS_127 = 0x00400000

/** The float32 bits of an infinity or a NaN, or null when the code stands for a finite number. */
function specialBits(fields: FloatFields, code: number): number | null {
  const { exponentBits, fractionBits, special } = fields
  const signBit = 2 ** (exponentBits + fractionBits)
  const sign = code >= signBit ? 0x80000000 : 0
  const magnitude = code % signBit
  if (special === 'fnuz') return code === signBit ? QUIET_NAN : null
  if (special === 'fn') return magnitude === signBit - 1 ? sign + QUIET_NAN : null
  const payload = magnitude - (signBit - 2 ** fractionBits)
  if (special === 'none' || payload < 0) return null
  return sign + (payload === 0 ? INFINITY : INFINITY | QUIET_BIT | (payload << (23 - fractionBits)))
}

/** The number that a code stands for; every one is exact in float32. */
function finiteValue({ exponentBits, fractionBits, bias }: FloatFields, code: number): number {
  const signBit = 2 ** (exponentBits + fractionBits)
  const exponent = Math.floor((code % signBit) / 2 ** fractionBits)
  const fraction = code % 2 ** fractionBits
  const significand = exponent === 0 ? fraction : fraction + 2 ** fractionBits
  const magnitude = significand * 2 ** (Math.max(exponent, 1) - bias - fractionBits)
  return code >= signBit ? -magnitude : magnitude
}

function scaleBits(code: number): number {
  if (code === 0xff) return QUIET_NAN
  return code === 0 ? SUBNORMAL_2_TO_MINUS_127 : code << 23
}

function buildTable(format: SmallFormat): Uint32Array {
  const fields = FIELDS[format]
  const bits = new Uint32Array(fields ? 2 ** (1 + fields.exponentBits + fields.fractionBits) : 256)
  const floats = new Float32Array(bits.buffer)
  for (let code = 0; code < bits.length; code++) {
    const special = fields ? specialBits(fields, code) : null
    if (special !== null) bits[code] = special
    else if (fields) floats[code] = finiteValue(fields, code)
    else if (format === 'F8_E8M0') bits[code] = scaleBits(code)
    else if (format === 'BOOL') floats[code] = code === 0 ? 0 : 1
    else floats[code] = format === 'I8' && code >= 128 ? code - 256 : code
  }
  return bits
}

const tables = new Map<SmallFormat, Uint32Array>()

/** The float32 bits of each code of a format: 16, 64 or 256 entries, built at the first use. */
export function floatTable(format: SmallFormat): Uint32Array {
  let table = tables.get(format)
  if (table === undefined) {
    table = buildTable(format)
    tables.set(format, table)
  }
  return table
}
