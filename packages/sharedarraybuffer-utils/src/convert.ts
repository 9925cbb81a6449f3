import { addon } from './addon.ts'
import { convertWithoutAddon } from './convert-fallback.ts'
import { SharedMemoryError } from './errors.ts'

/** Bits of one element of each format that converts to float32. */
const ELEMENT_BITS = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  F64: 64,
  I64: 64,
  U64: 64,
} as const

/** A format that converts to float32, by its name in safetensors: all but C64. */
export type ConvertibleFormat = keyof typeof ELEMENT_BITS

/** Every format that `convertToFloat32` takes, in ascending order of the safetensors serializer. */
export const CONVERTIBLE_FORMATS: readonly ConvertibleFormat[] = Object.keys(ELEMENT_BITS) as ConvertibleFormat[]

/**
 * Bytes somewhere in a buffer. Every ArrayBufferView is one; a plain object also serves where a view would be refused,
 * such as a Uint8Array above 4 GiB on Node 20.
 */
export interface SourceBytes {
  readonly buffer: ArrayBufferLike
  /** Where the range begins, in bytes; any number, aligned or not. */
  readonly byteOffset: number
  /** Length of the range, in bytes. */
  readonly byteLength: number
}

// Elements in one step: at most 1 GiB of source, far below what a Uint8Array may hold on Node 20. A multiple of four, so
// that a step over packed F6 elements ends on a whole byte.
const STEP_ELEMENTS = 2 ** 27

function checkFormat(format: ConvertibleFormat): void {
  if (Object.hasOwn(ELEMENT_BITS, format)) return
  const reason =
    (format as string) === 'C64'
      ? 'a complex number is two float32, read the tensor as pairs of F32'
      : `the formats that can be are ${CONVERTIBLE_FORMATS.join(', ')}`
  throw new SharedMemoryError('FORMAT_NOT_CONVERTIBLE', `Cannot convert "${format}" to float32: ${reason}`)
}

function checkLengths(
  format: ConvertibleFormat,
  source: SourceBytes,
  elementCount: number,
  target: Float32Array,
): void {
  const what = `Cannot convert ${elementCount} elements of ${format} to float32`
  if (!Number.isSafeInteger(elementCount) || elementCount < 0) {
    throw new RangeError(`${what}: the element count must be a whole number from 0 up`)
  }
  const expectedBytes = Math.ceil((elementCount / 8) * ELEMENT_BITS[format])
  if (source.byteLength !== expectedBytes) {
    throw new RangeError(`${what}: the source has ${source.byteLength} bytes, it must have ${expectedBytes}`)
  }
  const end = source.byteOffset + source.byteLength
  if (!Number.isSafeInteger(source.byteOffset) || source.byteOffset < 0 || end > source.buffer.byteLength) {
    const found = `bytes ${source.byteOffset} to ${end}`
    throw new RangeError(`${what}: the source is ${found} of a buffer, which has ${source.buffer.byteLength} bytes`)
  }
  if (target.length < elementCount) {
    throw new RangeError(`${what}: the target has ${target.length} elements, it must have at least ${elementCount}`)
  }
  const targetEnd = target.byteOffset + elementCount * Float32Array.BYTES_PER_ELEMENT
  if (source.buffer === target.buffer && source.byteOffset < targetEnd && target.byteOffset < end) {
    throw new RangeError(`${what}: source and target overlap, they must lie apart`)
  }
}

/**
 * Converts packed elements to float32 and writes them to the start of `target`; what follows there stays as it is. Runs in
 * the calling thread until it is done. Uses the addon where there is one (AVX2 and F16C on x64 processors that have them,
 * NEON on arm64), and otherwise plain TypeScript; the results are the same, bit for bit.
 *
 * A number that float32 can represent comes out exact, any other rounded to nearest, ties to even, as a C cast does it.
 * Only integers of 32 and 64 bits and F64 have such numbers; F64 beyond the range becomes an infinity.
 *
 * | format | meaning | source |
 * |---|---|---|
 * | BOOL | 0 is 0, every other byte is 1 | |
 * | U8 to U64, I8 to I64 | little-endian integers, two's complement | |
 * | F16, F32, F64 | binary16, binary32, binary64 | IEEE 754-2019 |
 * | BF16 | the upper half of a binary32 | |
 * | F8_E5M2 | bias 15, infinities and NaNs as in IEEE 754 | OCP OFP8 1.0 |
 * | F8_E4M3 | bias 7, no infinity, NaN is 0x7F and 0xFF | OCP OFP8 1.0 |
 * | F8_E4M3FNUZ, F8_E5M2FNUZ | bias 8 and 16, no infinity, no -0: its code 0x80 is NaN | Noune et al. 2022, "8-bit numerical formats for deep neural networks" |
 * | F8_E8M0 | 2^(code - 127), 0xFF is NaN; 0x00 is 2^-127, a float32 subnormal, kept as such | OCP Microscaling (MX) 1.0 |
 * | F6_E2M3, F6_E3M2 | bias 1 and 3, all codes finite | OCP MX 1.0 |
 * | F4 | E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives | OCP MX 1.0 |
 *
 * Packing. F4: two elements a byte, the first in the low nibble, as PyTorch defines `float4_e2m1fn_x2`, which the
 * safetensors library writes as F4. F6: four elements in three bytes, little-endian, the first in the lowest six bits.
 * Neither MX nor safetensors fixes that order for F6; it is the one that DLPack asks of packed sub-byte types (`DLDataType`).
 * Bits beyond the last element are ignored.
 *
 * NaN. BF16 and F32 move bits only, so a NaN keeps all of them, a signalling one too. F16, F8_E5M2 and F64 quieten a
 * signalling NaN and keep its sign and the upper bits of its payload: IEEE 754-2019 section 6.2 asks this of a conversion,
 * and it is what the processors' instructions do. The other formats have no payload: F8_E4M3 gives 0x7FC00000 with the
 * code's sign, FNUZ and F8_E8M0 give 0x7FC00000.
 *
 * @param format the elements' format
 * @param source exactly the elements' bytes, ceil(elementCount * bits / 8), at any alignment, in an ArrayBuffer or a
 *   SharedArrayBuffer; must not overlap the target
 * @param elementCount how many elements to convert, packed ones counted singly
 * @param target at least `elementCount` long; may lie in a SharedArrayBuffer
 * @throws {SharedMemoryError} FORMAT_NOT_CONVERTIBLE for C64 and for names that are no format
 * @throws {RangeError} when a length or the count does not fit, or source and target overlap
 */
export function convertToFloat32(
  format: ConvertibleFormat,
  source: SourceBytes,
  elementCount: number,
  target: Float32Array,
): void {
  checkFormat(format)
  checkLengths(format, source, elementCount, target)
  for (let begin = 0; begin < elementCount; begin += STEP_ELEMENTS) {
    const end = Math.min(begin + STEP_ELEMENTS, elementCount)
    const byteOffset = source.byteOffset + (begin / 8) * ELEMENT_BITS[format]
    const byteLength = Math.ceil(((end - begin) / 8) * ELEMENT_BITS[format])
    const step = new Uint8Array(source.buffer, byteOffset, byteLength)
    const out = target.subarray(begin, end)
    if (addon === null) convertWithoutAddon(format, step, end - begin, out)
    else addon.convertToFloat32(format, step, end - begin, out)
  }
}
