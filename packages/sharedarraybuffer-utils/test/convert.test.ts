import { describe, expect, test } from 'vitest'
import { addon } from '../src/addon.ts'
import { CONVERTIBLE_FORMATS, type ConvertibleFormat, convertToFloat32, type SourceBytes } from '../src/convert.ts'
import { convertWithoutAddon } from '../src/convert-fallback.ts'
import { canImport, runPython } from './python.ts'

type Convert = (format: ConvertibleFormat, source: Uint8Array, elementCount: number, target: Float32Array) => void
// The addon says which variant ran, and can be told to leave the processor's extensions out.
type NativeConvert = (...args: [...Parameters<Convert>, variant?: 'plain']) => 'plain' | 'avx2' | 'neon'

const native = addon?.convertToFloat32 as NativeConvert | undefined
const VARIANTS: [name: string, convert: Convert][] = [['typescript', convertWithoutAddon]]
if (native) VARIANTS.push(['addon', native], ['addon, plain', (...args) => native(...args, 'plain')])

const BITS: Record<ConvertibleFormat, number> = {
  ...{ BOOL: 8, F4: 4, F6_E2M3: 6, F6_E3M2: 6, U8: 8, I8: 8, F8_E5M2: 8, F8_E4M3: 8, F8_E8M0: 8 },
  ...{ F8_E4M3FNUZ: 8, F8_E5M2FNUZ: 8, I16: 16, U16: 16, F16: 16, BF16: 16 },
  ...{ I32: 32, U32: 32, F32: 32, F64: 64, I64: 64, U64: 64 },
}

function byteLengthOf(format: ConvertibleFormat, elementCount: number): number {
  return Math.ceil((elementCount * BITS[format]) / 8)
}

/** Random bytes, the same in every run. */
function randomBytes(byteLength: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(byteLength)
  let state = seed
  for (let i = 0; i < byteLength; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    bytes[i] = state >>> 24
  }
  return bytes
}

function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
}

function convertAll(
  convert: Convert,
  format: ConvertibleFormat,
  source: Uint8Array,
  elementCount: number,
): Float32Array {
  const target = new Float32Array(elementCount).fill(-77)
  convert(format, source, elementCount, target)
  return target
}

function bitsOf(floats: Float32Array): Uint32Array {
  return new Uint32Array(floats.buffer, floats.byteOffset, floats.length)
}

/** The first place where two arrays differ, or null. */
function firstDifference(actual: Uint32Array, expected: Uint32Array): string | null {
  expect(actual.length).toBe(expected.length)
  const at = actual.findIndex((value, i) => value !== expected[i])
  return at === -1 ? null : `[${at}] is 0x${actual[at]!.toString(16)}, expected 0x${expected[at]!.toString(16)}`
}

/** sign, exponent and fraction cut out of the code's binary digits: (-1)^s * 2^(e - bias) * 1.f, or 2^(1 - bias) * 0.f. */
function fromDigits(code: number, exponentBits: number, fractionBits: number, bias: number): number {
  const digits = code.toString(2).padStart(1 + exponentBits + fractionBits, '0')
  const exponent = Number.parseInt(digits.slice(1, 1 + exponentBits), 2)
  const fraction = Number.parseInt(digits.slice(1 + exponentBits), 2) / 2 ** fractionBits
  const magnitude = exponent === 0 ? 2 ** (1 - bias) * fraction : 2 ** (exponent - bias) * (1 + fraction)
  return digits[0] === '1' ? -magnitude : magnitude
}

/** The largest exponent means infinity (fraction 0) or NaN, as in IEEE 754. */
function fromIeeeDigits(code: number, exponentBits: number, fractionBits: number, bias: number): number {
  const value = fromDigits(code, exponentBits, fractionBits, bias)
  const limit = 2 ** (2 ** exponentBits - 1 - bias)
  if (Math.abs(value) < limit) return value
  return Math.abs(value) === limit ? value * Number.POSITIVE_INFINITY : Number.NaN
}

const EVERY_BYTE = Uint8Array.from({ length: 256 }, (_, code) => code)
const EVERY_16_BITS = Uint16Array.from({ length: 65536 }, (_, code) => code)

const EIGHT_BITS: [ConvertibleFormat, (code: number) => number][] = [
  ['BOOL', (code) => (code === 0 ? 0 : 1)],
  ['U8', (code) => code],
  ['I8', (code) => (code << 24) >> 24],
  ['F8_E5M2', (code) => fromIeeeDigits(code, 5, 2, 15)],
  ['F8_E4M3', (code) => ([0x7f, 0xff].includes(code) ? Number.NaN : fromDigits(code, 4, 3, 7))],
  ['F8_E4M3FNUZ', (code) => (code === 0x80 ? Number.NaN : fromDigits(code, 4, 3, 8))],
  ['F8_E5M2FNUZ', (code) => (code === 0x80 ? Number.NaN : fromDigits(code, 5, 2, 16))],
  ['F8_E8M0', (code) => (code === 0xff ? Number.NaN : 2 ** (code - 127))],
]

const SIXTEEN_BITS: [ConvertibleFormat, (code: number) => number][] = [
  ['F16', (code) => fromIeeeDigits(code, 5, 10, 15)],
  ['BF16', (code) => fromIeeeDigits(code, 8, 7, 127)],
  ['U16', (code) => code],
  ['I16', (code) => (code << 16) >> 16],
]

/** An integer rounded to 24 significant bits, ties to even, in exact arithmetic. */
function roundInteger(value: bigint): number {
  const magnitude = value < 0n ? -value : value
  const shift = BigInt(Math.max(magnitude.toString(2).length - 24, 0))
  let kept = magnitude >> shift
  const rest = magnitude - (kept << shift)
  const half = shift === 0n ? 1n : 1n << (shift - 1n)
  if (rest > half || (rest === half && (kept & 1n) === 1n)) kept++
  const rounded = Number(kept) * 2 ** Number(shift)
  return value < 0n ? -rounded : rounded
}

/** Whole numbers around every power of two and around every half that ties or just does not. */
function integerEdges(bits: bigint): bigint[] {
  const edges = [0n]
  for (let power = 0n; power <= bits; power++) {
    const halves = power < 24n ? [] : [1n, 3n, 5n].map((odd) => odd << (power - 24n))
    for (const base of [0n, ...halves].map((half) => (1n << power) + half)) {
      for (const near of [-2n, -1n, 0n, 1n, 2n]) edges.push(base + near, -base - near)
    }
  }
  return edges
}

describe.each(VARIANTS)('conversion by %s', (_name, convert) => {
  test.each(EIGHT_BITS)('%s: every one of the 256 codes is what the format says', (format, expected) => {
    const floats = convertAll(convert, format, EVERY_BYTE, 256)
    for (const code of EVERY_BYTE) expect(floats[code], `code ${code}`).toBe(expected(code))
  })

  test.each(SIXTEEN_BITS)('%s: every one of the 65,536 codes is what the format says', (format, expected) => {
    const floats = convertAll(convert, format, bytesOf(EVERY_16_BITS), 65536)
    expect(EVERY_16_BITS.filter((code) => !Object.is(floats[code], expected(code)))).toHaveLength(0)
  })

  test('F4: two elements a byte, the first in the low nibble, every pair', () => {
    const values = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6]
    const floats = convertAll(convert, 'F4', EVERY_BYTE, 512)
    for (const byte of EVERY_BYTE) {
      expect(floats[2 * byte], `low nibble of ${byte}`).toBe(values[byte & 15])
      expect(floats[2 * byte + 1], `high nibble of ${byte}`).toBe(values[byte >> 4])
    }
  })

  test.each([['F6_E2M3', 2, 3, 1, 7.5] as const, ['F6_E3M2', 3, 2, 3, 28] as const])(
    '%s: four elements in three bytes, the first in the lowest bits, every code at every place',
    (format, exponentBits, fractionBits, bias, largest) => {
      const codes = Uint8Array.from({ length: 256 }, (_, i) => (i * 5 + (i >> 6)) % 64)
      const packed = new Uint8Array(192)
      codes.forEach((code, i) => {
        for (let bit = 0; bit < 6; bit++) packed[(i * 6 + bit) >> 3]! |= ((code >> bit) & 1) << ((i * 6 + bit) & 7)
      })
      const floats = convertAll(convert, format, packed, 256)
      codes.forEach((code, i) => {
        expect(floats[i], `code ${code} at ${i}`).toBe(fromDigits(code, exponentBits, fractionBits, bias))
      })
      expect(Math.max(...floats)).toBe(largest)
    },
  )

  test.each(['I32', 'U32', 'I64', 'U64'] as const)('%s: rounds once, to nearest, ties to even', (format) => {
    const array = { I32: Int32Array, U32: Uint32Array, I64: BigInt64Array, U64: BigUint64Array }[format]
    const wrap = format.startsWith('U') ? BigInt.asUintN : BigInt.asIntN
    const integers = integerEdges(BigInt(BITS[format])).map((value) => wrap(BITS[format], value))
    const big = array === BigInt64Array || array === BigUint64Array
    const source = big ? array.from(integers) : (array as Int32ArrayConstructor).from(integers, Number)
    const floats = convertAll(convert, format, bytesOf(source), source.length)
    expect(integers.filter((value, i) => floats[i] !== roundInteger(value))).toEqual([])
  })

  test('F64: rounds to nearest even, through subnormals to zero and over the range to infinity', () => {
    const powers = Array.from({ length: 310 }, (_, i) => 2 ** (i - 160))
    const near = [1, 1 + 2 ** -24, 1 + 3 * 2 ** -24, 1 + 2 ** -24 + 2 ** -52, 2 - 2 ** -25, 1 + 2 ** -52, 1.5]
    const edges = powers.flatMap((power) => near.flatMap((factor) => [power * factor, -power * factor]))
    const source = Float64Array.of(0, -0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 5e-324, 1e308, ...edges)
    const floats = convertAll(convert, 'F64', bytesOf(source), source.length)
    expect(source.filter((value, i) => !Object.is(floats[i], Math.fround(value)))).toHaveLength(0)
  })

  test.each<[ConvertibleFormat, number | bigint, number]>([
    ['BF16', 0x7f81, 0x7f810000],
    ['BF16', 0xffa5, 0xffa50000],
    ['F32', 0x7f800001, 0x7f800001],
    ['F32', 0xffc12345, 0xffc12345],
    ['F16', 0x7c01, 0x7fc02000],
    ['F16', 0xfdff, 0xffffe000],
    ['F64', 0x7ff0000000000001n, 0x7fc00000],
    ['F64', 0xfff5555555555555n, 0xffeaaaaa],
    ['F8_E5M2', 0x7d, 0x7fe00000],
    ['F8_E5M2', 0xfe, 0xffc00000],
    ['F8_E4M3', 0xff, 0xffc00000],
    ['F8_E4M3FNUZ', 0x80, 0x7fc00000],
    ['F8_E5M2FNUZ', 0x80, 0x7fc00000],
    ['F8_E8M0', 0xff, 0x7fc00000],
    ['F8_E8M0', 0x00, 0x00400000],
  ])('%s: code %i comes out with the documented bits', (format, code, expected) => {
    const source = bytesOf(BigUint64Array.of(BigInt(code))).subarray(0, BITS[format] / 8)
    // Once alone and once in a run that is long enough for vectors.
    for (const repeats of [1, 40]) {
      const many = new Uint8Array(source.length * repeats).map((_, i) => source[i % source.length]!)
      expect(bitsOf(convertAll(convert, format, many, repeats))).toEqual(new Uint32Array(repeats).fill(expected))
    }
  })
})

describe.skipIf(!native)('the addon against TypeScript, bit for bit', () => {
  const variants = VARIANTS.slice(1)

  test.each(CONVERTIBLE_FORMATS)('%s: random elements, and again from an odd address in shared memory', (format) => {
    const elementCount = 30_003
    const byteLength = byteLengthOf(format, elementCount)
    const source = randomBytes(byteLength)
    const shifted = new Uint8Array(new SharedArrayBuffer(byteLength + 8), 3, byteLength)
    shifted.set(source)
    const expected = bitsOf(convertAll(convertWithoutAddon, format, source, elementCount))
    expect(firstDifference(bitsOf(convertAll(convertWithoutAddon, format, shifted, elementCount)), expected)).toBeNull()
    for (const [, convert] of variants) {
      expect(firstDifference(bitsOf(convertAll(convert, format, source, elementCount)), expected)).toBeNull()
      const target = new Float32Array(new SharedArrayBuffer(4 * elementCount + 4), 4)
      convert(format, shifted, elementCount, target)
      expect(firstDifference(bitsOf(target), expected)).toBeNull()
    }
  })

  test.each(CONVERTIBLE_FORMATS)(
    '%s: every length up to 70, from every alignment, and not one float more',
    (format) => {
      const memory = randomBytes(70 * 8 + 8, 7)
      for (let elementCount = 0; elementCount <= 70; elementCount++) {
        const source = memory.subarray(elementCount % 8, (elementCount % 8) + byteLengthOf(format, elementCount))
        const expected = bitsOf(convertAll(convertWithoutAddon, format, source, elementCount))
        for (const [, convert] of variants) {
          const target = new Float32Array(elementCount + 20).fill(-77)
          convert(format, source, elementCount, target)
          expect(firstDifference(bitsOf(target.subarray(0, elementCount)), expected)).toBeNull()
          expect(new Set(target.subarray(elementCount))).toEqual(new Set([-77]))
        }
      }
    },
  )

  test.each(['F16', 'BF16'] as const)('%s: an output too large for the caches, at two alignments', (format) => {
    const elementCount = 2 ** 23 + 13
    const source = randomBytes(2 * elementCount)
    const expected = bitsOf(convertAll(convertWithoutAddon, format, source, elementCount))
    for (const offset of [0, 3]) {
      const target = new Float32Array(elementCount + offset + 8).fill(-77)
      native?.(format, source, elementCount, target.subarray(offset))
      expect(firstDifference(bitsOf(target.subarray(offset, offset + elementCount)), expected)).toBeNull()
      const outside = target.filter((_, i) => i < offset || i >= offset + elementCount)
      expect(outside).toEqual(new Float32Array(offset + 8).fill(-77))
    }
  })

  test('the addon obeys the wish for the plain variant, and protects memory by itself', () => {
    const target = new Float32Array(4)
    expect(native?.('BF16', new Uint8Array(8), 4, target, 'plain')).toBe('plain')
    expect(() => native?.('F32', new Uint8Array(15), 4, target)).toThrow(RangeError)
    expect(() => native?.('F32', new Uint8Array(20), 5, target)).toThrow(RangeError)
    expect(() => native?.('F32', new Uint8Array(20), Number.NaN, target)).toThrow(RangeError)
    expect(() => native?.('C64' as ConvertibleFormat, new Uint8Array(32), 4, target)).toThrow(TypeError)
    expect(() => native?.('F32', new Uint16Array(8) as unknown as Uint8Array, 4, target)).toThrow(TypeError)
    expect(() => native?.('F32', new Uint8Array(16), 4, [] as unknown as Float32Array)).toThrow(TypeError)
  })
})

describe('convertToFloat32()', () => {
  test('takes any view, or a plain range of a buffer, and leaves the rest of the target alone', () => {
    const source = Uint16Array.of(0x3f80, 0xc000, 0x4040)
    const target = new Float32Array(4).fill(9)
    convertToFloat32('BF16', source, 3, target)
    expect(target).toEqual(Float32Array.of(1, -2, 3, 9))
    const range: SourceBytes = { buffer: source.buffer, byteOffset: 2, byteLength: 4 }
    convertToFloat32('BF16', range, 2, target)
    expect(target).toEqual(Float32Array.of(-2, 3, 3, 9))
  })

  test('takes no elements', () => {
    expect(() => convertToFloat32('F64', new Uint8Array(0), 0, new Float32Array(0))).not.toThrow()
  })

  test('reads a range that begins beyond 4 GiB', () => {
    const byteOffset = 2 ** 32 + 1
    const buffer = new SharedArrayBuffer(byteOffset + 4)
    new DataView(buffer).setFloat32(byteOffset, 2.5, true)
    const target = new Float32Array(1)
    convertToFloat32('F32', { buffer, byteOffset, byteLength: 4 }, 1, target)
    expect(target[0]).toBe(2.5)
  })

  test('refuses C64 and unknown names with FORMAT_NOT_CONVERTIBLE', () => {
    for (const format of ['C64', 'f32', 'toString', '']) {
      const call = () => convertToFloat32(format as ConvertibleFormat, new Uint8Array(8), 1, new Float32Array(1))
      expect(call).toThrow(expect.objectContaining({ code: 'FORMAT_NOT_CONVERTIBLE' }))
    }
  })

  test('refuses lengths that do not fit, with what was and what must be', () => {
    const target = new Float32Array(4)
    const call = (bytes: number, count: number, out = target) => {
      return () => convertToFloat32('F6_E2M3', new Uint8Array(bytes), count, out)
    }
    expect(call(2, 4)).toThrow(
      new RangeError('Cannot convert 4 elements of F6_E2M3 to float32: the source has 2 bytes, it must have 3'),
    )
    expect(call(4, 4)).toThrow(/has 4 bytes, it must have 3/)
    expect(call(6, 8)).toThrow(/the target has 4 elements, it must have at least 8/)
    expect(call(0, -1)).toThrow(/must be a whole number/)
    expect(call(1, 1.5)).toThrow(/must be a whole number/)
    const range = { buffer: new ArrayBuffer(8), byteOffset: 6, byteLength: 3 }
    expect(() => convertToFloat32('F6_E2M3', range, 4, target)).toThrow(/bytes 6 to 9 of a buffer, which has 8 bytes/)
  })

  test('refuses a source that overlaps the target', () => {
    const buffer = new SharedArrayBuffer(64)
    const target = new Float32Array(buffer, 16, 4)
    expect(() => convertToFloat32('U8', new Uint8Array(buffer, 31, 4), 4, target)).toThrow(/overlap/)
    expect(() => convertToFloat32('U8', new Uint8Array(buffer, 32, 4), 4, target)).not.toThrow()
  })
})

// Names of numpy and ml_dtypes; those of less than eight bits lie one in a byte there.
const ORACLE_DTYPES: Partial<Record<ConvertibleFormat, string>> = {
  ...{
    BOOL: 'bool_',
    U8: 'uint8',
    I8: 'int8',
    U16: 'uint16',
    I16: 'int16',
    U32: 'uint32',
    I32: 'int32',
    U64: 'uint64',
  },
  ...{
    I64: 'int64',
    F16: 'float16',
    BF16: 'bfloat16',
    F64: 'float64',
    F8_E5M2: 'float8_e5m2',
    F8_E4M3: 'float8_e4m3fn',
  },
  ...{ F8_E8M0: 'float8_e8m0fnu', F8_E4M3FNUZ: 'float8_e4m3fnuz', F8_E5M2FNUZ: 'float8_e5m2fnuz' },
}

const ORACLE = `
import sys, numpy, ml_dtypes
dtype = getattr(numpy, sys.argv[1], None) or getattr(ml_dtypes, sys.argv[1])
with numpy.errstate(all='ignore'):
    sys.stdout.buffer.write(numpy.frombuffer(sys.stdin.buffer.read(), dtype).astype(numpy.float32).tobytes())
`

function differencesBeyondNaN(actual: Float32Array, output: Buffer): number[] {
  const expected = new Float32Array(Uint8Array.from(output).buffer)
  expect(actual.length).toBe(expected.length)
  return [...actual.keys()].filter((i) => !Object.is(actual[i], expected[i])).slice(0, 5)
}

describe.skipIf(!canImport('numpy', 'ml_dtypes'))('against Python (needs python3 with numpy and ml_dtypes)', () => {
  test.each(Object.entries(ORACLE_DTYPES) as [ConvertibleFormat, string][])('%s agrees with %s', (format, dtype) => {
    const elementCount = 65536
    const random = randomBytes(byteLengthOf(format, elementCount), 5)
    const source = BITS[format] === 16 ? bytesOf(EVERY_16_BITS) : BITS[format] === 8 ? EVERY_BYTE : random
    const target = new Float32Array((source.length * 8) / BITS[format])
    convertToFloat32(format, source, target.length, target)
    expect(differencesBeyondNaN(target, runPython(ORACLE, [dtype], source))).toEqual([])
  })

  test.each([
    ['F4', 'float4_e2m1fn'],
    ['F6_E2M3', 'float6_e2m3fn'],
    ['F6_E3M2', 'float6_e3m2fn'],
  ] as const)('%s agrees with %s, unpacked', (format, dtype) => {
    const source = randomBytes(192, 3)
    const target = new Float32Array((source.length * 8) / BITS[format])
    convertToFloat32(format, source, target.length, target)
    const digits = [...source].reverse().map((byte) => byte.toString(2).padStart(8, '0'))
    const codes = digits
      .join('')
      .match(new RegExp(`.{${BITS[format]}}`, 'g'))!
      .reverse()
    const unpacked = Uint8Array.from(codes, (code) => Number.parseInt(code, 2))
    expect(differencesBeyondNaN(target, runPython(ORACLE, [dtype], unpacked))).toEqual([])
  })
})
