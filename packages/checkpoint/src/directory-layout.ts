/**
 * The directory's memory: one flat table, little-endian, every section at a multiple of 8 bytes.
 *
 *     header | tensor records | shapes | hash slots | shard records | names | metadata
 *
 * Tensor records stand in file order: by shard, then by first byte. A name is found through the slots: open addressing
 * with linear probing, beginning at `nameHash & (slotCount - 1)`; a slot holds a record's number plus one, or 0.
 */
export const LAYOUT = {
  magic: 0x79706f63656e6fn, // "onecopy" read as a little-endian integer
  version: 1,

  header: {
    byteLength: 104,
    magic: 0, // u64
    version: 8, // u32
    tensorCount: 12, // u32
    shardCount: 16, // u32
    slotCount: 20, // u32, a power of two, at least twice the tensors
    recordsOffset: 24, // u64, bytes from the directory's start, like every offset below
    shapesOffset: 32, // u64
    slotsOffset: 40, // u64
    shardsOffset: 48, // u64
    namesOffset: 56, // u64
    namesLength: 64, // u64, bytes
    metadataOffset: 72, // u64
    metadataLength: 80, // u64, bytes
    totalLength: 88, // u64, bytes of the whole directory
    tensorBytes: 96, // u64, sum of all tensors' bytes
  },

  record: {
    byteLength: 48,
    begin: 0, // u64, first byte of the tensor in its shard file
    length: 8, // u64, bytes
    nameOffset: 16, // u32, bytes from namesOffset
    nameLength: 20, // u32, bytes of UTF-8
    nameHash: 24, // u32, FNV-1a of those bytes
    shard: 28, // u32
    shapeOffset: 32, // u32, dimensions from shapesOffset
    rank: 36, // u32
    dtype: 40, // u32, position in DTYPE_NAMES
    reserved: 44, // u32, zero
  },

  /** One dimension: f64, exact up to 2^53. */
  dimension: { byteLength: 8 },

  /** One slot: u32. */
  slot: { byteLength: 4 },

  shard: {
    byteLength: 56,
    fileLength: 0, // u64, bytes of the whole shard file
    dataOffset: 8, // u64, first byte behind its header
    nameOffset: 16, // u32, bytes from namesOffset: the file's name
    nameLength: 20, // u32
    pathOffset: 24, // u32, bytes from namesOffset: its path when it was opened
    pathLength: 28, // u32
    firstRecord: 32, // u32
    recordCount: 36, // u32
    inode: 40, // u64, of the file when it was opened; 0 where it is not known
    modifiedNs: 48, // u64, nanoseconds since the epoch, likewise
  },
} as const

/** FNV-1a, 32 bits (Fowler, Noll, Vo; RFC 9923). Short to write in any language, and even enough for names. */
export function hashName(bytes: Uint8Array, begin: number, end: number): number {
  let hash = 0x811c9dc5
  for (let at = begin; at < end; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193)
  return hash >>> 0
}
