import { fileOf, noise, rawFile, tensor, utf8 } from './support.ts'

/** A file as it is found in the place of a safetensors file. */
export interface FileSample {
  readonly what: string
  readonly bytes: Uint8Array
  /** What the message must say of it, as a shard. */
  readonly says: RegExp
}

export const LFS_SIZE = 4976698672
const OID = 'ab'.repeat(32)
const SOUND = fileOf([tensor('a'), tensor('b')])

function latin1(text: string, padding = 200): Uint8Array {
  return Buffer.concat([Buffer.from(text, 'latin1'), noise(padding)])
}

/** The first entry of a zip archive, as `zip` and PyTorch write it. */
function zip(entry: string): Uint8Array {
  const header = Buffer.alloc(30)
  header.write('PK\x03\x04', 'latin1')
  header.writeUInt16LE(entry.length, 26)
  return Buffer.concat([header, Buffer.from(entry), noise(300)])
}

function tar(): Uint8Array {
  const block = Buffer.alloc(1024)
  block.write('model.safetensors', 'latin1')
  block.write('ustar\0', 257, 'latin1')
  return block
}

const LFS = `version https://git-lfs.github.com/spec/v1\noid sha256:${OID}\nsize ${LFS_SIZE}\n`
const LFS_SAYS = new RegExp(
  `a Git LFS pointer, which stands for a file of ${LFS_SIZE} bytes \\(sha256 ${OID}\\).* lfs pull`,
)
const PICKLE_SAYS = /a pickle .*huggingface\.co\/spaces\/safetensors\/convert/
const OTHER_TOOL = 'onecopy reads only safetensors'

/** Whatever was reported to stand there. */
export const SAMPLES: readonly FileSample[] = [
  { what: 'a Git LFS pointer', bytes: utf8(LFS), says: LFS_SAYS },
  { what: 'a Git LFS pointer with CRLF', bytes: utf8(LFS.replaceAll('\n', '\r\n')), says: LFS_SAYS },
  {
    what: 'a Git LFS pointer of before the first release',
    bytes: utf8(LFS.replace('git-lfs', 'hawser')),
    says: LFS_SAYS,
  },
  {
    what: 'a Git LFS pointer with extensions and without an oid that can be trusted',
    bytes: utf8('version https://git-lfs.github.com/spec/v1\next-0-foo sha256:00\noid sha256:\u001b[31m\nsize x\n'),
    says: /the file is a Git LFS pointer: .* lfs pull/,
  },
  { what: 'nothing', bytes: utf8(''), says: /the file is empty: download it again/ },
  { what: 'zeros', bytes: new Uint8Array(4096), says: /nothing but zeros: its space was reserved.*download it again/ },
  { what: 'many zeros', bytes: new Uint8Array(100_000), says: /nothing but zeros in its first 16384 of 100000 bytes/ },
  {
    what: 'a PyTorch archive',
    bytes: zip('archive/data.pkl'),
    says: /a PyTorch archive .*spaces\/safetensors\/convert/,
  },
  { what: 'a NumPy archive', bytes: zip('weight.npy'), says: new RegExp(`a NumPy archive.*${OTHER_TOOL}`) },
  { what: 'another zip', bytes: zip('readme.txt'), says: /a zip archive.*spaces\/safetensors\/convert/ },
  { what: 'the end of an empty zip', bytes: latin1('PK\x05\x06', 18), says: /a zip archive/ },
  { what: 'a zip cut after its magic', bytes: latin1('PK\x03\x04', 6), says: /a zip archive/ },
  ...[2, 3, 4, 5].map((protocol) => ({
    what: `a pickle of protocol ${protocol}`,
    bytes: latin1(`\x80${String.fromCharCode(protocol)}}q\0(X\x05\0\0\0`),
    says: PICKLE_SAYS,
  })),
  {
    what: 'a PyTorch file of before 1.6',
    bytes: latin1('\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M'),
    says: /a PyTorch file \(a pickle, as before 1\.6\).*convert/,
  },
  { what: 'a pickle of protocol 0', bytes: latin1("(dp0\nS'weight'\np1\n"), says: PICKLE_SAYS },
  { what: 'a pickle of protocol 1', bytes: latin1('}q\0(U\x06weight'), says: PICKLE_SAYS },
  { what: 'a pickled class', bytes: latin1('ccollections\nOrderedDict\nq\0'), says: PICKLE_SAYS },
  { what: 'GGUF', bytes: latin1('GGUF\x03\0\0\0'), says: new RegExp(`a GGUF file.*${OTHER_TOOL}`) },
  { what: 'GGML', bytes: latin1('tjgg\x03\0\0\0'), says: new RegExp(`a GGML file.*${OTHER_TOOL}`) },
  { what: 'HDF5', bytes: latin1('\x89HDF\r\n\x1a\n'), says: new RegExp(`an HDF5 file.*${OTHER_TOOL}`) },
  { what: 'a NumPy array', bytes: latin1('\x93NUMPY\x01\0v\0'), says: new RegExp(`a NumPy array.*${OTHER_TOOL}`) },
  {
    what: 'ONNX by PyTorch',
    bytes: latin1('\x08\x07\x12\x07pytorch'),
    says: new RegExp(`an ONNX model.*${OTHER_TOOL}`),
  },
  { what: 'ONNX without a producer', bytes: latin1('\x08\x0a\x3a\xff\x01'), says: /an ONNX model/ },
  { what: 'TensorFlow Lite', bytes: latin1('\x1c\0\0\0TFL3'), says: new RegExp(`a TensorFlow Lite.*${OTHER_TOOL}`) },
  { what: 'Parquet', bytes: latin1('PAR1\x15\x04'), says: new RegExp(`a Parquet file.*${OTHER_TOOL}`) },
  { what: 'gzip', bytes: latin1('\x1f\x8b\x08\0\0\0'), says: /a gzip archive: unpack it first/ },
  { what: 'zstd', bytes: latin1('\x28\xb5\x2f\xfd'), says: /a zstd archive: unpack it first/ },
  { what: 'xz', bytes: latin1('\xfd7zXZ\0'), says: /an xz archive: unpack it first/ },
  { what: 'bzip2', bytes: latin1('BZh91AY'), says: /a bzip2 archive: unpack it first/ },
  { what: '7z', bytes: latin1('7z\xbc\xaf\x27\x1c'), says: /a 7z archive: unpack it first/ },
  { what: 'RAR', bytes: latin1('Rar!\x1a\x07'), says: /a RAR archive: unpack it first/ },
  { what: 'tar', bytes: tar(), says: /a tar archive: unpack it first/ },
  { what: 'AppleDouble', bytes: latin1('\0\x05\x16\x07\0\x02\0\0'), says: /an AppleDouble file/ },
  {
    what: 'an HTML page with a hostile title',
    bytes: utf8('\ufeff\n<!DOCTYPE html><html><head><title>Log\u001b[2J in\n now</title></head>'),
    says: /an HTML page, "Log\\u001b\[2J in now": download it again/,
  },
  {
    what: 'an HTML page without a title',
    bytes: utf8('<html><body>Access denied</body></html>'),
    says: /an HTML page: /,
  },
  {
    what: 'an XML error of an object store',
    bytes: utf8('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'),
    says: /an XML page, "AccessDenied": download it again/,
  },
  {
    what: 'a JSON error',
    bytes: utf8('{"error":"Repository not found"}'),
    says: /an error page of a server, "Repository not found": download it again/,
  },
  { what: 'a JSON message', bytes: utf8('{"detail":"Not authenticated"}'), says: /an error page.*"Not authenticated"/ },
  {
    what: 'a text',
    bytes: utf8('Access to model org/name is restricted.\nAsk for it.'),
    says: /the file is a text, "Access to model org\/name is restricted\.": download it again/,
  },
]

/** What only a shard can be: in the place of an index it is JSON like an index. */
export const SHARD_SAMPLES: readonly FileSample[] = [
  ...SAMPLES,
  { what: 'a shard index', bytes: utf8('{"weight_map":{"a":"b.safetensors"}}'), says: /the file is a shard index$/ },
  {
    what: 'the configuration',
    bytes: utf8('{"model_type":"llama"}'),
    says: /the file is the configuration of a model$/,
  },
  { what: 'other JSON', bytes: utf8('[1, 2]'), says: /the file is a JSON text$/ },
  {
    what: 'a safetensors file without its last bytes',
    bytes: SOUND.subarray(0, -5),
    says: new RegExp(`the file is cut off: 5 of its ${SOUND.byteLength} bytes are missing: download it again`),
  },
  {
    what: 'a safetensors file cut inside its header',
    bytes: SOUND.subarray(0, 40),
    says: /the file is cut off inside its header: at least \d+ bytes are missing: download it again/,
  },
  {
    what: 'a safetensors file whose header was written in part',
    bytes: Buffer.concat([SOUND.subarray(0, 40), new Uint8Array(SOUND.byteLength - 40)]),
    says: /the file is filled with zeros inside its header: .*: download it again/,
  },
  {
    what: 'a safetensors file with more behind it',
    bytes: Buffer.concat([SOUND, Buffer.from('tail')]),
    says: /the file is longer than it should be: 4 bytes follow its last tensor/,
  },
]

/** What only an index can be. */
export const INDEX_SAMPLES: readonly FileSample[] = [
  ...SAMPLES,
  { what: 'a safetensors file', bytes: SOUND, says: /the file is a safetensors file, no index/ },
  {
    what: 'the configuration',
    bytes: utf8('{"model_type":"llama"}'),
    says: /the file is the configuration of a model/,
  },
]

/** Files about which nothing is known, so that nothing may be said. */
export const UNKNOWN: readonly Omit<FileSample, 'says'>[] = [
  { what: 'noise', bytes: noise(400, 5) },
  { what: 'a header of 640 bytes, whose length begins like a pickle', bytes: rawFile(`{${' '.repeat(639)}`) },
  { what: 'three bytes', bytes: Uint8Array.of(0xff, 0xfe, 0xfd) },
]
