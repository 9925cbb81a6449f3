import type { Uint64 } from './byte-length.ts'
import { type Dtype, isDtype } from './dtype.ts'
import { quoteName, SafetensorsError } from './errors.ts'
import { JsonScanner, StringCache, stringToken } from './json-scanner.ts'

/** A tensor as the header writes it, before anything is checked against anything else. */
export interface ScannedTensor {
  readonly dtype: Dtype
  readonly shape: Uint64[]
  readonly dataOffsets: [begin: Uint64, end: Uint64]
}

export interface ScannedHeader {
  /** In the order of the JSON, duplicates included. */
  readonly names: string[]
  /** `tensors[i]` is the entry under `names[i]`. */
  readonly tensors: ScannedTensor[]
  readonly metadata: Map<string, string> | null
}

const DTYPE_KEY = stringToken('dtype')
const SHAPE_KEY = stringToken('shape')
const OFFSETS_KEY = stringToken('data_offsets')

/**
 * Reads a header's JSON, which must be valid UTF-8: syntax, the presence and form of every field, and duplicates of
 * everything but tensors, which a map built in one go finds in half the time that a map growing here would take.
 *
 * @throws SafetensorsError SAFETENSORS_INVALID_HEADER_JSON or SAFETENSORS_DUPLICATE_KEY, whichever stands first.
 */
export function scanHeader(json: Uint8Array): ScannedHeader {
  const scanner = new JsonScanner(json, 'SAFETENSORS_INVALID_HEADER_JSON', 'Header')
  const readTensor = tensorReader(scanner)
  const names: string[] = []
  const tensors: ScannedTensor[] = []
  let metadata: Map<string, string> | null | undefined
  scanner.beginObject('the header')
  for (let first = true; scanner.nextMember(first); first = false) {
    const name = scanner.readKey()
    if (name === '__metadata__') {
      if (metadata !== undefined) throw duplicateKey(name, 'the header')
      metadata = readMetadata(scanner)
    } else {
      names.push(name)
      scanner.tensor = name
      tensors.push(readTensor(name))
      scanner.tensor = undefined
    }
  }
  scanner.end()
  return { names, tensors, metadata: metadata ?? null }
}

function readMetadata(scanner: JsonScanner): Map<string, string> | null {
  if (scanner.matchNull()) return null
  const metadata = new Map<string, string>()
  scanner.beginObject('__metadata__')
  for (let first = true; scanner.nextMember(first); first = false) {
    const key = scanner.readKey()
    const count = metadata.size
    // One look-up, not two: a key that was there already leaves the size as it was.
    metadata.set(key, scanner.readString('a value of __metadata__'))
    if (metadata.size === count) throw duplicateKey(key, '__metadata__')
  }
  return metadata
}

/** A reader of tensor entries that keeps what helps the next one: the dtypes seen, a buffer for the shape. */
function tensorReader(scanner: JsonScanner): (name: string) => ScannedTensor {
  const dtypes = new StringCache()
  const dimensions: Uint64[] = []

  function readDtype(): Dtype {
    scanner.peek()
    const start = scanner.position
    const dtype = scanner.readRepeated('dtype', dtypes)
    if (isDtype(dtype)) return dtype
    throw scanner.error(`unknown dtype ${quoteName(dtype)}`, start)
  }

  function readShape(): Uint64[] {
    let rank = 0
    scanner.beginArray('shape')
    while (scanner.nextElement(rank === 0)) dimensions[rank++] = scanner.readUint('a dimension')
    return dimensions.slice(0, rank) // exactly as long as needed, where push() would reserve 17 places for each tensor
  }

  function readOffsets(): [Uint64, Uint64] {
    const what = 'data_offsets, two integers'
    scanner.beginArray(what)
    if (!scanner.nextElement(true)) throw scanner.error('data_offsets must be two integers')
    const begin = scanner.readUint(what)
    if (!scanner.nextElement(false)) throw scanner.error('data_offsets must be two integers')
    const end = scanner.readUint(what)
    if (scanner.nextElement(false)) throw scanner.error('data_offsets must be two integers')
    return [begin, end]
  }

  return (name) => {
    let dtype: Dtype | undefined
    let shape: Uint64[] | undefined
    let dataOffsets: [Uint64, Uint64] | undefined
    scanner.beginObject('a tensor')
    for (let first = true; scanner.nextMember(first); first = false) {
      const field = readField(scanner)
      if (field === 'dtype') {
        if (dtype !== undefined) throw duplicateKey(field, `tensor ${quoteName(name)}`, name)
        dtype = readDtype()
      } else if (field === 'shape') {
        if (shape !== undefined) throw duplicateKey(field, `tensor ${quoteName(name)}`, name)
        shape = readShape()
      } else if (field === 'data_offsets') {
        if (dataOffsets !== undefined) throw duplicateKey(field, `tensor ${quoteName(name)}`, name)
        dataOffsets = readOffsets()
      } else {
        scanner.skipValue(2)
      }
    }
    if (dtype !== undefined && shape !== undefined && dataOffsets !== undefined) return { dtype, shape, dataOffsets }
    const missing = dtype === undefined ? 'dtype' : shape === undefined ? 'shape' : 'data_offsets'
    throw scanner.error(`${missing} is missing`)
  }
}

function readField(scanner: JsonScanner): string {
  const field = scanner.match(DTYPE_KEY)
    ? 'dtype'
    : scanner.match(SHAPE_KEY)
      ? 'shape'
      : scanner.match(OFFSETS_KEY)
        ? 'data_offsets'
        : undefined
  if (field === undefined) return scanner.readKey()
  scanner.colon()
  return field
}

export function duplicateKey(key: string, where: string, tensor?: string): SafetensorsError {
  return new SafetensorsError('SAFETENSORS_DUPLICATE_KEY', `Key ${quoteName(key)} appears twice in ${where}`, {
    tensor,
    details: { key },
  })
}
