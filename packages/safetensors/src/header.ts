import { checkLayout } from './check-layout.ts'
import { checkArgument, rules } from './check-options.ts'
import type { Dtype } from './dtype.ts'
import { SafetensorsError } from './errors.ts'
import { plainBytes } from './json-scanner.ts'
import { scanHeader } from './scan-header.ts'
import { findInvalidUtf8 } from './utf8.ts'

export interface TensorInfo {
  readonly dtype: Dtype
  /**
   * Dimensions, outermost first; empty for a scalar. A dimension above 2^53, which only a tensor without elements can
   * have, is checked exactly and then given as the nearest double.
   */
  readonly shape: readonly number[]
  /** Where the data lies, in bytes from the end of the header; `end` is exclusive. */
  readonly dataOffsets: readonly [begin: number, end: number]
}

export interface Header {
  /** By name, in the order of their data. Zero-size tensors at the same place keep their order in the JSON. */
  readonly tensors: ReadonlyMap<string, TensorInfo>
  /** The strings of `__metadata__`; null where there is none. */
  readonly metadata: ReadonlyMap<string, string> | null
}

/** The greatest length of a header's JSON in bytes, inclusive: the reference implementation's own limit. */
export const MAX_HEADER_BYTES: number = 100_000_000

/** The length in bytes of what stands before the JSON: its length as a little-endian u64. */
export const HEADER_PREFIX_BYTES: number = 8

const BYTE_LENGTH = rules.wholeNumber(0)

/**
 * The length of the JSON in bytes, from a file's first 8 bytes. Whoever reads a file piece by piece calls this first,
 * then {@link parseHeader} with the bytes from 8 to 8 + length.
 *
 * @param first8 the file's first bytes; what stands after the eighth is not looked at
 * @param fileByteLength the length of the whole file
 * @throws SafetensorsError SAFETENSORS_HEADER_TOO_SMALL for a file under 8 bytes, SAFETENSORS_HEADER_TOO_LARGE above
 * {@link MAX_HEADER_BYTES}, SAFETENSORS_INVALID_HEADER_LENGTH where the file ends before the header does.
 */
export function readHeaderLength(first8: Uint8Array, fileByteLength: number): number {
  checkArgument('The first bytes of the file', first8, rules.bytes)
  checkArgument('The byte length of the file', fileByteLength, BYTE_LENGTH)
  const available = Math.min(first8.byteLength, fileByteLength)
  if (available < HEADER_PREFIX_BYTES) {
    throw new SafetensorsError(
      'SAFETENSORS_HEADER_TOO_SMALL',
      `The file has ${available} bytes, but must have at least ${HEADER_PREFIX_BYTES}`,
      { details: { byteLength: available } },
    )
  }
  const view = new DataView(first8.buffer, first8.byteOffset, HEADER_PREFIX_BYTES)
  const length = view.getBigUint64(0, true)
  if (length > MAX_HEADER_BYTES) throw headerTooLarge(length)
  const end = HEADER_PREFIX_BYTES + Number(length)
  if (end > fileByteLength) {
    throw new SafetensorsError(
      'SAFETENSORS_INVALID_HEADER_LENGTH',
      `The header ends at byte ${end}, but the file has ${fileByteLength} bytes`,
      { details: { headerByteLength: Number(length), fileByteLength } },
    )
  }
  return Number(length)
}

/**
 * Reads and checks a header by the rules of the reference implementation, save that duplicate keys and tensors written
 * as JSON arrays are refused.
 *
 * @param json the bytes of the JSON, without the 8 bytes of length before it
 * @param dataByteLength how many bytes follow the header in the file
 * @throws SafetensorsError in this order: SAFETENSORS_HEADER_TOO_LARGE, SAFETENSORS_INVALID_HEADER_UTF8; then
 * SAFETENSORS_INVALID_HEADER_JSON and SAFETENSORS_DUPLICATE_KEY; then, for each tensor in the order of the data, SAFETENSORS_INVALID_OFFSET, SAFETENSORS_VALIDATION_OVERFLOW, SAFETENSORS_MISALIGNED_SLICE,
 * SAFETENSORS_TENSOR_INVALID_INFO; and SAFETENSORS_METADATA_INCOMPLETE_BUFFER.
 */
export function parseHeader(json: Uint8Array, dataByteLength: number): Header {
  checkArgument('The header', json, rules.bytes)
  checkArgument('The byte length of the data', dataByteLength, BYTE_LENGTH)
  if (json.byteLength > MAX_HEADER_BYTES) throw headerTooLarge(json.byteLength)
  const bytes = plainBytes(json)
  const invalid = findInvalidUtf8(bytes)
  if (invalid !== -1) {
    throw new SafetensorsError('SAFETENSORS_INVALID_HEADER_UTF8', `Header is not valid UTF-8 at byte ${invalid}`, {
      details: { position: invalid },
    })
  }
  const scanned = scanHeader(bytes)
  const tensors = checkLayout(scanned, dataByteLength)
  for (const { shape } of tensors.values()) {
    for (let axis = 0; axis < shape.length; axis++) {
      if (typeof shape[axis] === 'bigint') shape[axis] = Number(shape[axis])
    }
  }
  // No bigint is left: the loop above took those of the shapes, and an offset within the file is below 2^53.
  return { tensors: tensors as ReadonlyMap<string, TensorInfo>, metadata: scanned.metadata }
}

/**
 * Reads and checks the header of a whole file in memory.
 *
 * @throws SafetensorsError as {@link readHeaderLength} and {@link parseHeader} do.
 */
export function parseSafetensors(file: Uint8Array): Header {
  checkArgument('The file', file, rules.bytes)
  const length = readHeaderLength(file, file.byteLength)
  const end = HEADER_PREFIX_BYTES + length
  return parseHeader(file.subarray(HEADER_PREFIX_BYTES, end), file.byteLength - end)
}

function headerTooLarge(byteLength: number | bigint): SafetensorsError {
  return new SafetensorsError(
    'SAFETENSORS_HEADER_TOO_LARGE',
    `The header has ${byteLength} bytes, but must have at most ${MAX_HEADER_BYTES}`,
    { details: { headerByteLength: byteLength } },
  )
}
