import type { ConvertibleFormat } from './convert.ts'
import { floatTable, type SmallFormat } from './float-tables.ts'

/** Reads `elementCount` elements and writes float32: as numbers, or as bits where a NaN must keep its payload. */
type Converter = (source: DataView, elementCount: number, floats: Float32Array, bits: Uint32Array) => void

function fromTable(format: SmallFormat): Converter {
  return (source, elementCount, _floats, bits) => {
    const table = floatTable(format)
    for (let i = 0; i < elementCount; i++) bits[i] = table[source.getUint8(i)]!
  }
}

/** Two elements a byte, the first in the low nibble. */
function fromFloat4(source: DataView, elementCount: number, _floats: Float32Array, bits: Uint32Array): void {
  const table = floatTable('F4')
  for (let i = 0; i < elementCount; i++) bits[i] = table[(source.getUint8(i >>> 1) >>> ((i & 1) * 4)) & 15]!
}

/** Four elements in three bytes, the first in the lowest six bits. */
function fromFloat6(format: 'F6_E2M3' | 'F6_E3M2'): Converter {
  return (source, elementCount, _floats, bits) => {
    const table = floatTable(format)
    for (let i = 0; i < elementCount; i++) {
      const bit = i * 6
      const byte = Math.floor(bit / 8)
      const upper = byte + 1 < source.byteLength ? source.getUint8(byte + 1) : 0
      bits[i] = table[((source.getUint8(byte) | (upper << 8)) >>> (bit % 8)) & 63]!
    }
  }
}

/** Bits, never numbers: the engine may quieten a signalling NaN that passes through as a number. */
function fromBFloat16(source: DataView, elementCount: number, _floats: Float32Array, bits: Uint32Array): void {
  for (let i = 0; i < elementCount; i++) bits[i] = source.getUint16(i * 2, true) << 16
}

function fromHalf(source: DataView, elementCount: number, floats: Float32Array, bits: Uint32Array): void {
  for (let i = 0; i < elementCount; i++) {
    const half = source.getUint16(i * 2, true)
    const sign = (half & 0x8000) << 16
    const magnitude = half & 0x7fff
    if (magnitude > 0x7c00) bits[i] = sign | 0x7fc00000 | (magnitude << 13)
    else if (magnitude === 0x7c00) bits[i] = sign | 0x7f800000
    else if (magnitude >= 0x0400) bits[i] = sign | ((magnitude << 13) + (112 << 23))
    else floats[i] = (sign === 0 ? magnitude : -magnitude) * 2 ** -24
  }
}

function fromFloat32(source: DataView, elementCount: number, _floats: Float32Array, bits: Uint32Array): void {
  for (let i = 0; i < elementCount; i++) bits[i] = source.getUint32(i * 4, true)
}

function fromFloat64(source: DataView, elementCount: number, floats: Float32Array, bits: Uint32Array): void {
  for (let i = 0; i < elementCount; i++) {
    const value = source.getFloat64(i * 8, true)
    if (Number.isNaN(value)) {
      const upper = source.getUint32(i * 8 + 4, true)
      const payload = ((upper & 0x000fffff) << 3) | (source.getUint32(i * 8, true) >>> 29)
      bits[i] = (upper & 0x80000000) | 0x7fc00000 | payload
    } else {
      floats[i] = value
    }
  }
}

/**
 * A 64-bit integer as a number that rounds to the same float32. Beyond 53 bits the low 11 bits are folded into one sticky
 * bit, which fits: rounding first to float64 and then to float32 would round some halves the wrong way.
 */
function foldInteger(upper: number, lower: number): number {
  const exact = upper >= -0x200000 && upper < 0x200000
  const folded = exact || (lower & 0x7ff) === 0 ? lower : ((lower | 0x800) & ~0x7ff) >>> 0
  return upper * 2 ** 32 + folded
}

const CONVERTERS: Readonly<Record<ConvertibleFormat, Converter>> = {
  BOOL: fromTable('BOOL'),
  F4: fromFloat4,
  F6_E2M3: fromFloat6('F6_E2M3'),
  F6_E3M2: fromFloat6('F6_E3M2'),
  U8: fromTable('U8'),
  I8: fromTable('I8'),
  F8_E5M2: fromTable('F8_E5M2'),
  F8_E4M3: fromTable('F8_E4M3'),
  F8_E8M0: fromTable('F8_E8M0'),
  F8_E4M3FNUZ: fromTable('F8_E4M3FNUZ'),
  F8_E5M2FNUZ: fromTable('F8_E5M2FNUZ'),
  I16(source, elementCount, floats) {
    for (let i = 0; i < elementCount; i++) floats[i] = source.getInt16(i * 2, true)
  },
  U16(source, elementCount, floats) {
    for (let i = 0; i < elementCount; i++) floats[i] = source.getUint16(i * 2, true)
  },
  F16: fromHalf,
  BF16: fromBFloat16,
  I32(source, elementCount, floats) {
    for (let i = 0; i < elementCount; i++) floats[i] = source.getInt32(i * 4, true)
  },
  U32(source, elementCount, floats) {
    for (let i = 0; i < elementCount; i++) floats[i] = source.getUint32(i * 4, true)
  },
  F32: fromFloat32,
  F64: fromFloat64,
  I64(source, elementCount, floats) {
    for (let i = 0; i < elementCount; i++) {
      floats[i] = foldInteger(source.getInt32(i * 8 + 4, true), source.getUint32(i * 8, true))
    }
  },
  U64(source, elementCount, floats) {
    for (let i = 0; i < elementCount; i++) {
      floats[i] = foldInteger(source.getUint32(i * 8 + 4, true), source.getUint32(i * 8, true))
    }
  },
}

/**
 * The conversion without the addon, bit for bit what the addon gives. Reads through a DataView, so the source may start at
 * any byte. The arguments are those of the addon's method and are not validated here.
 */
export function convertWithoutAddon(
  format: ConvertibleFormat,
  source: Uint8Array,
  elementCount: number,
  target: Float32Array,
): void {
  const view = new DataView(source.buffer, source.byteOffset, source.byteLength)
  const bits = new Uint32Array(target.buffer, target.byteOffset, target.length)
  CONVERTERS[format](view, elementCount, target, bits)
}
