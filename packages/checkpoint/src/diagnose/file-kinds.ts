import { HEADER_PREFIX_BYTES, MAX_HEADER_BYTES, quoteName } from '@onecopy/safetensors'

/** What of a file is looked at. */
export interface FileEnds {
  readonly byteLength: number // of the whole file
  /** Its first bytes, {@link HEAD_BYTES} at most. */
  readonly head: Uint8Array
}

/** What has to be done about a file: each kind of cure is one way to say it. */
export type Cure = 'lfs' | 'download' | 'convert' | 'unpack' | 'other-tool' | 'open-other'

/** What a file is that should have been another. */
export interface Kind {
  /** As a sentence goes on after "the file is". */
  readonly text: string
  readonly cure: Cure
}

/** Enough for the title of an error page and for the first entry of an archive. */
export const HEAD_BYTES: number = 16_384

const PICKLED = 'a pickle (PyTorch or other Python objects)'

/** Formats known by the bytes that they begin with, as latin1. */
const MAGICS: readonly (readonly [magic: string, text: string, cure: Cure])[] = [
  ['GGUF', 'a GGUF file (llama.cpp)', 'other-tool'],
  ['lmgg', 'a GGML file (llama.cpp)', 'other-tool'],
  ['fmgg', 'a GGML file (llama.cpp)', 'other-tool'],
  ['tjgg', 'a GGML file (llama.cpp)', 'other-tool'],
  ['\x89HDF\r\n\x1a\n', 'an HDF5 file (Keras)', 'other-tool'],
  ['\x93NUMPY', 'a NumPy array (.npy)', 'other-tool'],
  ['\x1f\x8b', 'a gzip archive', 'unpack'],
  ['\x28\xb5\x2f\xfd', 'a zstd archive', 'unpack'],
  ['\xfd7zXZ\0', 'an xz archive', 'unpack'],
  ['BZh', 'a bzip2 archive', 'unpack'],
  ['7z\xbc\xaf\x27\x1c', 'a 7z archive', 'unpack'],
  ['Rar!\x1a', 'a RAR archive', 'unpack'],
  ['PAR1', 'a Parquet file', 'other-tool'],
  ['\0\x05\x16\x07', 'an AppleDouble file, which macOS puts beside the file whose name follows "._"', 'open-other'],
  // Of protocol 1, which has no mark of its own: a dictionary or list that is remembered.
  ['}q\0', PICKLED, 'convert'],
  [']q\0', PICKLED, 'convert'],
  // A pickle of torch.save before 1.6 begins with its magic number, 0x1950a86a20f9469cfc6c.
  ['\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19', 'a PyTorch file (a pickle, as before 1.6)', 'convert'],
]

/** The kinds that take more than the first bytes to know. */
const FINDERS: readonly ((ends: FileEnds, latin1: string) => Kind | null)[] = [
  ({ byteLength }) => (byteLength === 0 ? { text: 'empty', cure: 'download' } : null),
  lfsPointer,
  zip,
  ({ head }) => (head[0] === 0x80 && head[1]! >= 2 && head[1]! <= 5 ? PICKLE : null),
  // Protocol 0 is text: what a dictionary, a list or a class begins with there.
  (_, latin1) => (/^(?:\([dl]p?\d*\n|c[\w.]+\n\w+\n)/.test(latin1) ? PICKLE : null),
  (_, latin1) => (latin1.slice(257, 262) === 'ustar' ? { text: 'a tar archive', cure: 'unpack' } : null),
  (_, latin1) => (latin1.slice(4, 8) === 'TFL3' ? { text: 'a TensorFlow Lite file', cure: 'other-tool' } : null),
  // Protobuf: the version of the format, then the name of the program that wrote it, the operators or the graph.
  ({ head }) => (head[0] === 0x08 && head[1]! < 0x20 && [0x12, 0x3a, 0x42].includes(head[2]!) ? ONNX : null),
  ({ head, byteLength }) => (head.every((byte) => byte === 0) ? zeros(head.byteLength, byteLength) : null),
  markup,
  json,
  plainText,
]

const PICKLE: Kind = { text: PICKLED, cure: 'convert' }
const ONNX: Kind = { text: 'an ONNX model', cure: 'other-tool' }
const ZIP_MAGICS = ['PK\x03\x04', 'PK\x05\x06', 'PK\x07\x08']

/** What a file is that is no safetensors file, by its beginning; null where nothing is known. */
export function kindOf(ends: FileEnds): Kind | null {
  if (looksLikeSafetensors(ends.head)) return null
  const latin1 = Buffer.from(ends.head).toString('latin1')
  const magic = MAGICS.find(([bytes]) => latin1.startsWith(bytes))
  if (magic !== undefined) return { text: magic[1], cure: magic[2] }
  for (const find of FINDERS) {
    const kind = find(ends, latin1)
    if (kind !== null) return kind
  }
  return null
}

/** Whether a header's length and the beginning of its JSON stand there: then it is a safetensors file, whatever it lacks. */
export function looksLikeSafetensors(head: Uint8Array): boolean {
  if (head.byteLength <= HEADER_PREFIX_BYTES) return false
  const length = Buffer.from(head).readBigUInt64LE(0)
  return length > 1n && length <= MAX_HEADER_BYTES && /^[ \t\r\n]*[{]/.test(Buffer.from(head).toString('latin1', 8, 64))
}

function lfsPointer(_: FileEnds, latin1: string): Kind | null {
  // hawser was its name before the first release.
  if (!/^version https:\/\/(?:git-lfs|hawser)\.github\.com\/spec\//.test(latin1)) return null
  const size = /^size (\d{1,20})\r?$/m.exec(latin1)?.[1]
  const oid = /^oid sha256:([0-9a-f]{64})\r?$/m.exec(latin1)?.[1]
  const stands = size === undefined ? '' : `, which stands for a file of ${size} bytes`
  return { text: `a Git LFS pointer${stands}${oid === undefined ? '' : ` (sha256 ${oid})`}`, cure: 'lfs' }
}

function zip(_: FileEnds, latin1: string): Kind | null {
  if (!ZIP_MAGICS.some((magic) => latin1.startsWith(magic))) return null
  if (/\/(?:data\.pkl|byteorder|\.format_version)/.test(latin1)) {
    return { text: 'a PyTorch archive (a zip with a pickle in it)', cure: 'convert' }
  }
  const first = latin1.slice(30, 30 + Buffer.from(latin1, 'latin1').readUInt16LE(Math.min(26, latin1.length - 2)))
  if (first.endsWith('.npy')) return { text: 'a NumPy archive (.npz)', cure: 'other-tool' }
  return { text: 'a zip archive, as PyTorch writes its files too', cure: 'convert' }
}

function zeros(shown: number, byteLength: number): Kind {
  const what =
    shown < byteLength ? `nothing but zeros in its first ${shown} of ${byteLength} bytes` : 'nothing but zeros'
  return { text: `${what}: its space was reserved, and its content never written`, cure: 'download' }
}

function markup({ head }: FileEnds): Kind | null {
  const text = textOf(head)
  if (!/^\s*<(?:!doctype|html|head|body|\?xml|error)\b/i.test(text)) return null
  if (/<html\b|<!doctype html/i.test(text)) {
    const title = /<title[^>]*>([^<]{1,400})/i.exec(text)?.[1]
    return { text: `an HTML page${title === undefined ? '' : `, ${quoted(title)}`}`, cure: 'download' }
  }
  const message = /<(?:message|code)>([^<]{1,400})/i.exec(text)?.[1]
  return { text: `an XML page${message === undefined ? '' : `, ${quoted(message)}`}`, cure: 'download' }
}

function json({ head, byteLength }: FileEnds): Kind | null {
  const text = textOf(head)
  if (!/^\s*[{[]/.test(text)) return null
  const value = parsed(text, head.byteLength < byteLength)
  if (typeof value !== 'object' || value === null) return { text: 'a JSON text', cure: 'open-other' }
  const { error, message, detail } = value as Readonly<Record<string, unknown>>
  const said = [error, message, detail].find((part) => typeof part === 'string' && part !== '')
  if (said !== undefined) return { text: `an error page of a server, ${quoted(said as string)}`, cure: 'download' }
  if ('weight_map' in value) return { text: 'a shard index', cure: 'open-other' }
  return { text: 'model_type' in value ? 'the configuration of a model' : 'a JSON text', cure: 'open-other' }
}

function parsed(text: string, isCut: boolean): unknown {
  try {
    return isCut ? null : JSON.parse(text)
  } catch {
    return null
  }
}

function plainText({ head, byteLength }: FileEnds): Kind | null {
  const text = textOf(head)
  if (head.byteLength < byteLength || text === '' || /[\ufffd\p{Cc}]/u.test(text.replace(/[\t\r\n]/g, ''))) return null
  return { text: `a text, ${quoted(text.trim().split('\n')[0]!)}`, cure: 'download' }
}

function textOf(head: Uint8Array): string {
  return new TextDecoder().decode(head)
}

/** What a stranger wrote, for a message. */
function quoted(text: string): string {
  return quoteName(text.replace(/\s+/g, ' ').trim())
}
