import { tensorByteLength } from './byte-length.ts'
import { checkArgument, rules } from './check-options.ts'
import { compareDtypes, type Dtype, isDtype } from './dtype.ts'
import { quoteName, SafetensorsError } from './errors.ts'
import { HEADER_PREFIX_BYTES, MAX_HEADER_BYTES } from './header.ts'
import { compareUtf8, isWellFormed } from './utf8.ts'

export interface TensorSpec {
  readonly name: string
  readonly dtype: Dtype
  /** Dimensions, outermost first; F4 and F6 count logical elements. */
  readonly shape: readonly number[]
}

export interface TensorData extends TensorSpec {
  /** The elements, little-endian, in C order. */
  readonly data: Uint8Array
}

/** The strings of `__metadata__`. An empty map is written as `{}`; null writes none. */
export type MetadataInput = ReadonlyMap<string, string> | Readonly<Record<string, string>> | null

export interface SerializedHeader {
  /** All that stands before the data: the length as a u64, then the JSON, padded with spaces to a multiple of 8. */
  readonly bytes: Uint8Array<ArrayBuffer>
  /** Where each tensor's data goes, in bytes from the end of the header, in the order of writing; `end` is exclusive. */
  readonly layout: ReadonlyMap<string, readonly [begin: number, end: number]>
  /** How many bytes of data follow. */
  readonly dataByteLength: number
}

/**
 * Writes a header as the reference implementation does, and makes it depend on nothing but what is in it: tensors by
 * dtype, the last of `DTYPES` first, then by the UTF-8 bytes of their names; metadata keys by their UTF-8 bytes.
 *
 * @throws SafetensorsError SAFETENSORS_RESERVED_NAME for a tensor named `__metadata__`, SAFETENSORS_DUPLICATE_KEY for a
 * name given twice, SAFETENSORS_INVALID_HEADER_UTF8 for text with a lone surrogate, SAFETENSORS_TENSOR_INVALID_INFO for
 * an unknown dtype or a dimension that is no integer from 0 to 2^53 - 1, SAFETENSORS_MISALIGNED_SLICE where F4 or F6
 * elements do not fill whole bytes, SAFETENSORS_VALIDATION_OVERFLOW above 2^53 - 1 bytes, SAFETENSORS_HEADER_TOO_LARGE.
 */
export function serializeHeader(tensors: Iterable<TensorSpec>, metadata: MetadataInput = null): SerializedHeader {
  const sorted = listOf(tensors)
  for (const { name, dtype } of sorted) checkName(name, dtype)
  sorted.sort((a, b) => compareDtypes(b.dtype, a.dtype) || compareUtf8(a.name, b.name))
  const layout = new Map<string, [begin: number, end: number]>()
  const members = new Members()
  if (metadata !== null) members.add(`"__metadata__":${metadataJson(metadata)}`)
  let cursor = 0
  for (const { name, dtype, shape } of sorted) {
    if (layout.has(name)) {
      throw new SafetensorsError('SAFETENSORS_DUPLICATE_KEY', `Tensor ${quoteName(name)} is given twice`, {
        tensor: name,
        details: { key: name },
      })
    }
    const end = cursor + tensorByteLength(dtype, shape, name)
    if (end > Number.MAX_SAFE_INTEGER) {
      throw new SafetensorsError('SAFETENSORS_VALIDATION_OVERFLOW', 'The data must have at most 2^53 - 1 bytes', {
        tensor: name,
      })
    }
    layout.set(name, [cursor, end])
    const offsets = `[${cursor},${end}]`
    members.add(`${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(',')}],"data_offsets":${offsets}}`)
    cursor = end
  }
  return { bytes: members.header(), layout, dataByteLength: cursor }
}

/**
 * A whole file in memory, for small ones; large ones write {@link serializeHeader} and then the data, in the order of
 * the layout.
 *
 * @throws SafetensorsError as {@link serializeHeader} does, and SAFETENSORS_TENSOR_INVALID_INFO for data that has not as
 * many bytes as its dtype and shape need.
 */
export function serialize(tensors: Iterable<TensorData>, metadata: MetadataInput = null): Uint8Array<ArrayBuffer> {
  const list = listOf(tensors)
  for (const { name, data } of list) checkArgument(`The data of tensor ${quoteName(name)}`, data, rules.bytes)
  const { bytes, layout, dataByteLength } = serializeHeader(list, metadata)
  const file = new Uint8Array(bytes.byteLength + dataByteLength)
  file.set(bytes)
  for (const { name, data } of list) {
    const [begin, end] = layout.get(name)!
    if (data.byteLength !== end - begin) {
      throw new SafetensorsError(
        'SAFETENSORS_TENSOR_INVALID_INFO',
        `Tensor ${quoteName(name)} has ${data.byteLength} bytes of data, but its dtype and shape need ${end - begin}`,
        { tensor: name, details: { byteLength: data.byteLength, expected: end - begin } },
      )
    }
    file.set(data, bytes.byteLength + begin)
  }
  return file
}

/** @throws TypeError for something else than tensors */
function listOf<Tensor extends TensorSpec>(tensors: Iterable<Tensor>): Tensor[] {
  const isKind = (value: unknown): boolean => typeof value === 'object' && value !== null && Symbol.iterator in value
  checkArgument('The tensors', tensors, { must: 'a list, or another iterable, of tensors', isKind })
  const list = [...tensors]
  for (const [at, tensor] of list.entries()) {
    checkArgument(`Entry ${at} of the tensors`, tensor, {
      ...rules.object,
      must: 'an object with name, dtype and shape',
    })
    checkArgument(`The name of entry ${at} of the tensors`, tensor.name, rules.text)
    checkArgument(`The shape of tensor ${quoteName(tensor.name)}`, tensor.shape, SHAPE)
  }
  return list
}

const SHAPE = { must: 'a list of sizes', isKind: Array.isArray }

/** Collects the members of the header's object and refuses to grow beyond what a reader accepts. */
class Members {
  readonly #members: string[] = []
  #length = 2 // UTF-16 code units, never more than bytes of UTF-8: enough to stop before a string gets too long

  add(member: string): void {
    this.#length += member.length + 1
    if (this.#length - 1 > MAX_HEADER_BYTES) throw tooLarge(this.#length - 1)
    this.#members.push(member)
  }

  header(): Uint8Array<ArrayBuffer> {
    const json = new TextEncoder().encode(`{${this.#members.join(',')}}`)
    const padded = Math.ceil(json.byteLength / 8) * 8
    if (padded > MAX_HEADER_BYTES) throw tooLarge(padded)
    const bytes = new Uint8Array(HEADER_PREFIX_BYTES + padded).fill(0x20)
    new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true)
    bytes.set(json, HEADER_PREFIX_BYTES)
    return bytes
  }
}

/**
 * Sees to it that metadata is one.
 * @param what how the message calls it
 * @throws TypeError for something else than a Map or object, and for a key or value that is no text
 */
export function checkMetadata(what: string, metadata: unknown): void {
  checkArgument(what, metadata, { ...rules.object, must: 'a Map or object of texts, or null' })
  for (const [key, value] of metadata instanceof Map ? metadata : Object.entries(metadata as object)) {
    checkArgument(`A key of ${what}`, key, rules.text)
    checkArgument(`${what} under ${quoteName(key)}`, value, rules.text)
  }
}

function metadataJson(metadata: NonNullable<MetadataInput>): string {
  checkMetadata('The metadata', metadata)
  const entries: (readonly [string, string])[] =
    metadata instanceof Map ? [...metadata.entries()] : Object.entries(metadata)
  for (const [key, value] of entries) {
    if (!isWellFormed(key) || !isWellFormed(value)) throw loneSurrogate(`Metadata ${quoteName(key)}`)
  }
  entries.sort(([a], [b]) => compareUtf8(a, b))
  return `{${entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`
}

function checkName(name: string, dtype: unknown): void {
  if (name === '__metadata__') {
    throw new SafetensorsError(
      'SAFETENSORS_RESERVED_NAME',
      'A tensor is named "__metadata__", but that key holds the metadata',
      { tensor: name },
    )
  }
  if (!isWellFormed(name)) throw loneSurrogate(`Tensor name ${quoteName(name)}`, name)
  if (!isDtype(dtype)) {
    throw new SafetensorsError(
      'SAFETENSORS_TENSOR_INVALID_INFO',
      `Tensor ${quoteName(name)} has the unknown dtype ${quoteName(String(dtype))}`,
      { tensor: name, details: { dtype } },
    )
  }
}

function loneSurrogate(what: string, tensor?: string): SafetensorsError {
  return new SafetensorsError(
    'SAFETENSORS_INVALID_HEADER_UTF8',
    `${what} has a surrogate without its partner, which UTF-8 cannot represent`,
    { tensor },
  )
}

function tooLarge(byteLength: number): SafetensorsError {
  return new SafetensorsError(
    'SAFETENSORS_HEADER_TOO_LARGE',
    `The header takes at least ${byteLength} bytes, but must have at most ${MAX_HEADER_BYTES}`,
    { details: { headerByteLength: byteLength } },
  )
}
