import { DTYPE_NAMES, type Dtype, dtypeBits } from './dtype.ts'
import { copyPlainText, standsHere } from './flat-text.ts'
import { type Header, MAX_HEADER_BYTES } from './header.ts'
import { JsonScanner, plainBytes } from './json-scanner.ts'
import { readMetadata } from './scan-header.ts'
import { findInvalidUtf8 } from './utf8.ts'

/** A header's tensors in columns, in the order of their data, without a string or an object for each. */
export interface FlatHeader {
  readonly count: number
  /** The bytes of all names, one after the other: plain ASCII. A name may stand here twice, which a header forbids. */
  readonly names: Uint8Array
  /** Where each name ends in `names`. */
  readonly nameEnds: Uint32Array
  /** Positions in DTYPE_NAMES. */
  readonly dtypes: Uint8Array
  /** The dimensions of all tensors, one after the other. */
  readonly shapes: Float64Array
  /** Where each tensor's dimensions end in `shapes`. */
  readonly shapeEnds: Uint32Array
  /** Where each tensor's data begins and ends, in bytes behind the header. */
  readonly begins: Float64Array
  readonly ends: Float64Array
  readonly metadata: ReadonlyMap<string, string> | null
}

/** Bytes that the shortest entry of a tensor takes, comma included. */
const SHORTEST_ENTRY = '"":{"dtype":"U8","shape":[],"data_offsets":[0,1]},'.length

const QUOTE = 0x22
const COMMA = 0x2c
const METADATA = bytesOf('"__metadata__":')
// What stands between a tensor's name, dtype, shape and offsets, and after them.
const TO_DTYPE = bytesOf('":{"dtype":"')
const TO_SHAPE = bytesOf('","shape":[')
const TO_OFFSETS = bytesOf(',"data_offsets":[')
const TO_END = bytesOf(']}')

const dtypeCodes = new Map<string, number>(DTYPE_NAMES.map((dtype: Dtype, code) => [dtype, code]))
const DTYPE_BITS = Float64Array.from(DTYPE_NAMES, dtypeBits)
const LONGEST_DTYPE = Math.max(...DTYPE_NAMES.map(({ length }) => length))

function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

/**
 * Reads a header that is written as serializers write it: compact, plain ASCII names, fields in their usual order, tensors
 * in the order of their data. That is nearly every header there is, and takes a fraction of the time of `parseHeader`.
 *
 * @param json the bytes of the JSON
 * @returns null for anything else, valid or not, which is for `parseHeader` to tell; whatever is returned here it accepts,
 * save for names that stand there twice
 */
export function scanFlatHeader(json: Uint8Array, dataByteLength: number): FlatHeader | null {
  if (json.byteLength > MAX_HEADER_BYTES) return null
  const reader = new ColumnReader(plainBytes(json))
  return reader.readHeader() && reader.cursor === dataByteLength ? reader.columns() : null
}

/**
 * Reads the JSON from its first byte to its last and fills the columns on the way. Every method steps over what it reads,
 * and gives back false, or -1, for whatever is unusual.
 */
class ColumnReader {
  /** Where the last tensor's data ends. */
  cursor = 0
  private readonly json: Uint8Array
  private at = 0
  private count = 0
  private named = 0 // bytes of names
  private dimensions = 0
  private dtype = -1 // the last one, with its place in the JSON and its length: the next is mostly the same
  private dtypeAt = 0
  private dtypeLength = 0
  private metadata: ReadonlyMap<string, string> | null | undefined
  private readonly names: Uint8Array
  private readonly nameEnds: Uint32Array
  private readonly dtypes: Uint8Array
  private readonly begins: Float64Array
  private readonly ends: Float64Array
  private readonly shapeEnds: Uint32Array
  private shapes: Float64Array // grows: two bytes of JSON make a dimension, and few headers are full of them

  constructor(json: Uint8Array) {
    const most = Math.floor(json.length / SHORTEST_ENTRY) + 1
    this.json = json
    this.names = new Uint8Array(json.length)
    this.nameEnds = new Uint32Array(most)
    this.dtypes = new Uint8Array(most)
    this.begins = new Float64Array(most)
    this.ends = new Float64Array(most)
    this.shapeEnds = new Uint32Array(most)
    this.shapes = new Float64Array(most)
  }

  readHeader(): boolean {
    const { json } = this
    if (!this.take(0x7b)) return false
    if (!this.take(0x7d)) {
      do {
        if (!(this.takeAll(METADATA) ? this.readMetadata() : this.readTensor())) return false
      } while (this.take(COMMA))
      if (!this.take(0x7d)) return false
    }
    while (this.at < json.length && json[this.at] === 0x20) this.at++ // the padding
    return this.at === json.length
  }

  columns(): FlatHeader {
    const { count } = this
    return {
      count,
      names: this.names.slice(0, this.named),
      nameEnds: this.nameEnds.slice(0, count),
      dtypes: this.dtypes.slice(0, count),
      shapes: this.shapes.slice(0, this.dimensions),
      shapeEnds: this.shapeEnds.slice(0, count),
      begins: this.begins.slice(0, count),
      ends: this.ends.slice(0, count),
      metadata: this.metadata ?? null,
    }
  }

  private readMetadata(): boolean {
    if (this.metadata !== undefined) return false
    const scanner = new JsonScanner(this.json, 'SAFETENSORS_INVALID_HEADER_JSON', 'Header')
    scanner.position = this.at
    try {
      this.metadata = readMetadata(scanner)
    } catch {
      return false
    }
    // Looked at afterwards, when it is known where it ends: until then the scanner has only put U+FFFD into strings.
    if (findInvalidUtf8(this.json.subarray(this.at, scanner.position)) !== -1) return false
    this.at = scanner.position
    return true
  }

  private readTensor(): boolean {
    if (!this.readName() || !this.takeAll(TO_DTYPE)) return false
    const dtype = this.readDtype()
    if (dtype === -1 || !this.takeAll(TO_SHAPE)) return false
    const elements = this.readShape()
    if (elements === -1 || !this.takeAll(TO_OFFSETS)) return false
    const begin = this.readUint()
    if (begin === -1 || !this.take(COMMA)) return false
    const end = this.readUint()
    if (end === -1 || !this.takeAll(TO_END)) return false
    // Bits that are too many to be exact equal no number on the left, which is below 2^53.
    if (begin !== this.cursor || (end - begin) * 8 !== elements * DTYPE_BITS[dtype]!) return false
    const tensor = this.count++
    this.nameEnds[tensor] = this.named
    this.dtypes[tensor] = dtype
    this.shapeEnds[tensor] = this.dimensions
    this.begins[tensor] = begin
    this.ends[tensor] = end
    this.cursor = end
    return true
  }

  /** Up to the quote at its end. */
  private readName(): boolean {
    if (!this.take(QUOTE)) return false
    const end = copyPlainText(this.json, this.at, this.names, this.named)
    if (end === -1) return false
    this.named += end - this.at
    this.at = end
    return true
  }

  /** Its position in DTYPE_NAMES; up to the quote at its end. */
  private readDtype(): number {
    const { json, at, dtypeAt, dtypeLength } = this
    let same = this.dtype !== -1 && json[at + dtypeLength] === QUOTE
    for (let i = 0; same && i < dtypeLength; i++) same = json[at + i] === json[dtypeAt + i]
    if (!same) {
      let text = ''
      for (let byte = json[at]; byte !== QUOTE; byte = json[at + text.length]) {
        if (byte === undefined || text.length === LONGEST_DTYPE) return -1
        text += String.fromCharCode(byte)
      }
      this.dtype = dtypeCodes.get(text) ?? -1
      this.dtypeAt = at
      this.dtypeLength = text.length
    }
    this.at += this.dtypeLength
    return this.dtype
  }

  /** The number of elements, the dimensions themselves being kept. */
  private readShape(): number {
    if (this.take(0x5d)) return 1
    let elements = 1
    do {
      const dimension = this.readUint()
      elements *= dimension
      // A product that leaves the exact integers may still come to 0, by rules of its own.
      if (dimension === -1 || elements > Number.MAX_SAFE_INTEGER) return -1
      if (this.dimensions === this.shapes.length) this.shapes = doubled(this.shapes)
      this.shapes[this.dimensions++] = dimension
    } while (this.take(COMMA))
    return this.take(0x5d) ? elements : -1
  }

  /** An integer of at most 15 digits, which a double holds exactly. */
  private readUint(): number {
    const { json, at } = this
    let value = 0
    let end = at
    for (let digit = json[end]! - 0x30; digit >= 0 && digit <= 9; digit = json[++end]! - 0x30)
      value = value * 10 + digit
    const digits = end - at
    if (digits === 0 || digits > 15 || (digits > 1 && json[at] === 0x30)) return -1
    this.at = end
    return value
  }

  /** Steps over this byte, if it stands here. */
  private take(byte: number): boolean {
    if (this.json[this.at] !== byte) return false
    this.at++
    return true
  }

  private takeAll(token: Uint8Array): boolean {
    if (!standsHere(this.json, this.at, token)) return false
    this.at += token.length
    return true
  }
}

function doubled(array: Float64Array): Float64Array {
  const larger = new Float64Array(array.length * 2)
  larger.set(array)
  return larger
}

/** The same columns of a header that was read in another way. */
export function flattenHeader({ tensors, metadata }: Header): FlatHeader {
  const encoder = new TextEncoder()
  const infos = [...tensors.values()]
  const texts = Array.from(tensors.keys(), (name) => encoder.encode(name))
  const names = new Uint8Array(texts.reduce((sum, { byteLength }) => sum + byteLength, 0))
  const nameEnds = new Uint32Array(texts.length)
  let named = 0
  for (const [at, text] of texts.entries()) {
    names.set(text, named)
    named += text.byteLength
    nameEnds[at] = named
  }
  let dimensions = 0
  return {
    count: infos.length,
    names,
    nameEnds,
    dtypes: Uint8Array.from(infos, ({ dtype }) => dtypeCodes.get(dtype)!),
    shapes: Float64Array.from(infos.flatMap(({ shape }) => shape)),
    shapeEnds: Uint32Array.from(infos, ({ shape }) => {
      dimensions += shape.length
      return dimensions
    }),
    begins: Float64Array.from(infos, ({ dataOffsets }) => dataOffsets[0]),
    ends: Float64Array.from(infos, ({ dataOffsets }) => dataOffsets[1]),
    metadata,
  }
}
