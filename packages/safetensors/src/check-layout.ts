import { canonical, exactByteLength, type Uint64 } from './byte-length.ts'
import { quoteName, SafetensorsError } from './errors.ts'
import { duplicateKey, type ScannedHeader, type ScannedTensor } from './scan-header.ts'

/**
 * Steps 6 to 8 of the validation: puts the tensors in the order of their data and checks that they fill `dataByteLength`
 * bytes from the first to the last, without a hole or an overlap, each with as many bytes as its dtype and shape say.
 * Zero-size tensors at the same place keep their order in the JSON.
 *
 * @throws SafetensorsError SAFETENSORS_DUPLICATE_KEY; then, of the first tensor at fault in the order of the data,
 * SAFETENSORS_INVALID_OFFSET, SAFETENSORS_VALIDATION_OVERFLOW, SAFETENSORS_MISALIGNED_SLICE or
 * SAFETENSORS_TENSOR_INVALID_INFO; then SAFETENSORS_METADATA_INCOMPLETE_BUFFER.
 */
export function checkLayout(header: ScannedHeader, dataByteLength: number): Map<string, ScannedTensor> {
  const tensors = inDataOrder(header)
  let cursor: Uint64 = 0
  for (const [name, tensor] of tensors) {
    checkTensor(name, tensor, cursor)
    cursor = tensor.dataOffsets[1]
  }
  if (cursor !== dataByteLength) {
    throw new SafetensorsError(
      'SAFETENSORS_METADATA_INCOMPLETE_BUFFER',
      `The tensors take ${cursor} bytes, but ${dataByteLength} bytes follow the header`,
      { details: { expected: cursor, dataByteLength } },
    )
  }
  return tensors
}

function inDataOrder({ names, tensors }: ScannedHeader): Map<string, ScannedTensor> {
  const order = isSorted(tensors) ? undefined : sortedIndices(tensors)
  const sorted = new Map<string, ScannedTensor>()
  for (let i = 0; i < names.length; i++) {
    const index = order === undefined ? i : order[i]!
    sorted.set(names[index]!, tensors[index]!)
    // One look-up, not two: a name that was there already leaves the size as it was.
    if (sorted.size === i) throw duplicateKey(names[index]!, 'the header', names[index])
  }
  return sorted
}

function checkTensor(name: string, tensor: ScannedTensor, cursor: Uint64): void {
  const { dtype, shape, dataOffsets } = tensor
  const [begin, end] = dataOffsets
  if (begin !== cursor || end < begin) {
    const rule =
      begin !== cursor ? `must begin at ${cursor}, where the one before it ends` : 'must not end before it begins'
    throw new SafetensorsError(
      'SAFETENSORS_INVALID_OFFSET',
      `Tensor ${quoteName(name)} has data_offsets [${begin}, ${end}], but ${rule}`,
      { tensor: name, details: { begin, end, expectedBegin: cursor } },
    )
  }
  const byteLength = exactByteLength(dtype, shape, name)
  const given = difference(end, begin)
  if (given !== byteLength) {
    throw new SafetensorsError(
      'SAFETENSORS_TENSOR_INVALID_INFO',
      `Tensor ${quoteName(name)} has ${given} bytes of data, but its dtype and shape need ${byteLength}`,
      { tensor: name, details: { dtype, byteLength: given, expected: byteLength } },
    )
  }
}

/** The indices of the tensors by begin, then end, then place in the JSON. */
function sortedIndices(tensors: readonly ScannedTensor[]): Uint32Array {
  // The nearest doubles keep the order, stand close together in memory, and leave few ties to look up.
  const begins = Float64Array.from(tensors, (tensor) => Number(tensor.dataOffsets[0]))
  return Uint32Array.from(tensors.keys()).sort(
    (a, b) => begins[a]! - begins[b]! || compareOffsets(tensors[a]!, tensors[b]!) || a - b,
  )
}

/** Serializers write the tensors in the order of their data, which spares most headers the sort. */
function isSorted(tensors: readonly ScannedTensor[]): boolean {
  for (let i = 1; i < tensors.length; i++) {
    if (compareOffsets(tensors[i - 1]!, tensors[i]!) > 0) return false
  }
  return true
}

function compareOffsets(a: ScannedTensor, b: ScannedTensor): number {
  return compare(a.dataOffsets[0], b.dataOffsets[0]) || compare(a.dataOffsets[1], b.dataOffsets[1])
}

function compare(a: Uint64, b: Uint64): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function difference(a: Uint64, b: Uint64): Uint64 {
  return typeof a === 'number' && typeof b === 'number' ? a - b : canonical(BigInt(a) - BigInt(b))
}
