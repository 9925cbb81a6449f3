/**
 * The directory's memory: one flat table, little-endian, every section at a multiple of 8 bytes.
 *
 *     header | tensor records | shapes | buckets | name entries | shard records | names | metadata
 *
 * Tensor records stand in file order: by shard, then by first byte. Name entries stand by hash, then by the bytes of the
 * name, so that whoever makes many names of one hash gains nothing: a search goes by halves. A bucket is where the entries
 * begin whose hashes have the same upper bits; it ends where the next one begins.
 */
export const LAYOUT = {
  magic: 0x79706f63656e6fn, // "onecopy" read as a little-endian integer
  version: 2,

  header: {
    byteLength: 112,
    magic: 0, // u64
    version: 8, // u32
    tensorCount: 12, // u32
    shardCount: 16, // u32
    bucketCount: 20, // u32, a power of two, at least 2
    recordsOffset: 24, // u64, bytes from the directory's start, like every offset below
    shapesOffset: 32, // u64
    bucketsOffset: 40, // u64
    entriesOffset: 48, // u64
    shardsOffset: 56, // u64
    namesOffset: 64, // u64
    namesLength: 72, // u64, bytes
    metadataOffset: 80, // u64
    metadataLength: 88, // u64, bytes
    totalLength: 96, // u64, bytes of the whole directory
    tensorBytes: 104, // u64, sum of all tensors' bytes
  },

  record: {
    byteLength: 40,
    begin: 0, // u64, first byte of the tensor in its shard file
    length: 8, // u64, bytes
    nameOffset: 16, // u32, bytes from namesOffset
    nameLength: 20, // u32, bytes of UTF-8
    shard: 24, // u32
    shapeOffset: 28, // u32, dimensions from shapesOffset
    rank: 32, // u32
    dtype: 36, // u32, position in DTYPE_NAMES
  },

  /** One dimension: f64, exact up to 2^53. */
  dimension: { byteLength: 8 },

  /** One bucket: u32, the number of its first entry. There is one more than buckets: the number of all entries. */
  bucket: { byteLength: 4 },

  entry: {
    byteLength: 8,
    hash: 0, // u32, FNV-1a of the name's bytes
    record: 4, // u32
  },

  shard: {
    byteLength: 64,
    fileLength: 0, // u64, bytes of the whole shard file
    dataOffset: 8, // u64, first byte behind its header
    nameOffset: 16, // u32, bytes from namesOffset: the file's name
    nameLength: 20, // u32
    pathOffset: 24, // u32, bytes from namesOffset: its path when it was opened
    pathLength: 28, // u32
    firstRecord: 32, // u32
    recordCount: 36, // u32
    inode: 40, // u64, of the file when it was opened; 0 where it is not known
    modifiedSeconds: 48, // i64, since the epoch, rounded down; likewise
    modifiedNanoseconds: 56, // u32, beyond those
    reserved: 60, // u32, zero
  },
} as const

/** FNV-1a, 32 bits (Fowler, Noll, Vo; RFC 9923). Short to write in any language, and even enough for names. */
export function hashName(bytes: Uint8Array, begin: number, end: number): number {
  let hash = 0x811c9dc5
  for (let at = begin; at < end; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193)
  return hash >>> 0
}

/** The bucket of a hash: by its upper bits. */
export function bucketOf(hash: number, bucketCount: number): number {
  return hash >>> (Math.clz32(bucketCount) + 1)
}
