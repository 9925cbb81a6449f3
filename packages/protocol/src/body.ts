import { isUtf8 } from 'node:buffer'
import { Packr } from 'msgpackr/pack'
import { ProtocolError } from './errors.ts'

/** How deep lists and maps may lie in each other; the deepest message needs 8. */
const MAX_DEPTH = 32

/** Values and keys of one body: an empty map takes one byte on the wire and 56 in memory. */
const MAX_VALUES = 262_144

// Plain msgpack that every language reads: no records, no extensions. What comes in has been scanned before.
const packr = new Packr({
  useRecords: false,
  mapsAsObjects: true,
  variableMapSize: true,
  encodeUndefinedAsNil: true,
  int64AsType: 'number',
})

/**
 * A value as msgpack.
 * @throws ProtocolError FRAME_INVALID when it has anything but null, booleans, numbers, well-formed text, lists and maps
 */
export function encodeBody(value: unknown): Buffer {
  const body = packr.pack(value)
  scanBody(body)
  return body
}

/**
 * The value of a body.
 * @throws ProtocolError FRAME_INVALID when it is not msgpack, or not of the subset that this protocol uses
 */
export function decodeBody(body: Uint8Array): unknown {
  scanBody(body)
  return packr.unpack(body)
}

/** One value's head: where what follows it begins, and how many values it contains. */
interface Head {
  readonly end: number
  readonly kind: 'plain' | 'text' | 'list' | 'map'
  readonly children: number
}

/**
 * Walks over a body without making anything of it, so that the decoder sees only what is complete, shallow, of a bounded
 * size and free of extensions, which could make it build classes and functions.
 */
function scanBody(body: Uint8Array): void {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  // Values still to come in each list or map that is open; a map's are keys and values in turn.
  const left = [1]
  const isMap = [false]
  let at = 0
  let values = 0
  while (left.length > 0) {
    const level = left.length - 1
    const count = left[level]!
    if (count === 0) {
      left.pop()
      isMap.pop()
      continue
    }
    left[level] = count - 1
    if (++values > MAX_VALUES) refuse(`it has more than ${MAX_VALUES} values`)
    const { end, kind, children } = readHead(view, at)
    if (end > body.byteLength) refuse('it ends in the middle of a value')
    if (kind === 'text' && !isUtf8(body.subarray(end - children, end))) refuse(`the text at byte ${at} is not UTF-8`)
    if (isMap[level] && count % 2 === 0 && kind !== 'text') refuse(`the key at byte ${at} is not text`)
    at = end
    if (kind !== 'list' && kind !== 'map') continue
    if (children > body.byteLength - at) refuse('it ends in the middle of a value')
    if (left.length > MAX_DEPTH) refuse(`lists and maps lie more than ${MAX_DEPTH} deep`)
    left.push(children)
    isMap.push(kind === 'map')
  }
  if (at < body.byteLength) refuse(`something follows the value, from byte ${at}`)
}

/** `children` of a text is its bytes, which lie before `end`. */
function readHead(view: DataView, at: number): Head {
  if (at >= view.byteLength) refuse('it ends in the middle of a value')
  const byte = view.getUint8(at)
  if (byte < 0x80 || byte >= 0xe0) return plain(at + 1)
  if (byte < 0x90) return { end: at + 1, kind: 'map', children: 2 * (byte - 0x80) }
  if (byte < 0xa0) return { end: at + 1, kind: 'list', children: byte - 0x90 }
  if (byte < 0xc0) return text(at + 1, byte - 0xa0)
  const size = PLAIN_SIZES[byte]
  if (size !== undefined) return plain(at + 1 + size)
  if (byte >= 0xd9 && byte <= 0xdb) {
    const bytes = 1 << (byte - 0xd9)
    return text(at + 1 + bytes, readLength(view, at + 1, bytes))
  }
  if (byte < 0xdc)
    refuse(`the value at byte ${at} is of a kind that this protocol does not use (0x${byte.toString(16)})`)
  const bytes = byte % 2 === 0 ? 2 : 4
  const children = readLength(view, at + 1, bytes)
  const end = at + 1 + bytes
  return byte < 0xde ? { end, kind: 'list', children } : { end, kind: 'map', children: 2 * children }
}

/** Bytes that follow the first one: nil, false, true; floats; unsigned integers; signed integers. */
const PLAIN_SIZES: Readonly<Record<number, number>> = {
  192: 0,
  194: 0,
  195: 0,
  202: 4,
  203: 8,
  204: 1,
  205: 2,
  206: 4,
  207: 8,
  208: 1,
  209: 2,
  210: 4,
  211: 8,
}

function plain(end: number): Head {
  return { end, kind: 'plain', children: 0 }
}

function text(begin: number, bytes: number): Head {
  return { end: begin + bytes, kind: 'text', children: bytes }
}

function readLength(view: DataView, at: number, bytes: number): number {
  if (at + bytes > view.byteLength) refuse('it ends in the middle of a value')
  if (bytes === 1) return view.getUint8(at)
  return bytes === 2 ? view.getUint16(at) : view.getUint32(at)
}

function refuse(why: string): never {
  throw new ProtocolError('FRAME_INVALID', `Invalid frame: its body is not what it must be: ${why}`)
}
