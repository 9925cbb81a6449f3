import { DTYPE_NAMES, type Dtype, type Header, quoteName } from '@onecopy/safetensors'
import { bucketOf, hashName, LAYOUT } from './directory-layout.ts'
import { CheckpointError } from './errors.ts'

/** What the directory is made of: shards whose headers were read. */
export interface DirectorySource {
  readonly name: string
  readonly path: string
  readonly byteLength: number // of the shard file
  readonly dataOffset: number // first byte behind the header
  readonly header: Header
  readonly inode?: bigint
  readonly modifiedNs?: bigint // since the epoch
}

const { header: HEADER, record: RECORD, entry: ENTRY, shard: SHARD } = LAYOUT
const MAX_NAMES_BYTES = 2 ** 32 - 1 // names are found by u32 offsets
const MAX_TENSORS = 2 ** 31 // as many buckets as a u32 counts
const NS_PER_SECOND = 1_000_000_000n

const dtypeNumbers = new Map<Dtype, number>(DTYPE_NAMES.map((dtype, number) => [dtype, number]))

/**
 * Lays out the directory of a checkpoint in shared memory, once, for every thread and process that will read it.
 * @throws CheckpointError CHECKPOINT_TOO_LARGE when the names of all tensors exceed 4 GiB or there are more than 2^31,
 * TENSOR_IN_TWO_SHARDS for a name that comes twice
 */
export function buildDirectory(shards: readonly DirectorySource[]): SharedArrayBuffer {
  const plan = measure(shards)
  const buffer = new SharedArrayBuffer(plan.totalLength)
  const bytes = Buffer.from(buffer)
  const words = new Uint32Array(buffer)
  const u64 = (at: number, value: number): void => {
    words[at / 4] = value >>> 0
    words[at / 4 + 1] = Math.floor(value / 2 ** 32)
  }
  let nextName = 0
  const shapes = new Float64Array(buffer, plan.shapesOffset, plan.dimensions)
  /** Writes a name, and its place and length into the two words at `at`; its hash. */
  const putName = (at: number, name: string): number => {
    const begin = plan.namesOffset + nextName
    const length = bytes.write(name, begin, 'utf8')
    words[at / 4] = nextName
    words[at / 4 + 1] = length
    nextName += length
    return hashName(bytes, begin, begin + length)
  }

  let record = 0
  let dimension = 0
  let tensorBytes = 0
  const hashes = new Uint32Array(plan.tensors)
  for (const [shard, { name, path, byteLength, dataOffset, header, inode = 0n, modifiedNs = 0n }] of shards.entries()) {
    const row = plan.shardsOffset + shard * SHARD.byteLength
    u64(row + SHARD.fileLength, byteLength)
    u64(row + SHARD.dataOffset, dataOffset)
    putName(row + SHARD.nameOffset, name)
    putName(row + SHARD.pathOffset, path)
    words[(row + SHARD.firstRecord) / 4] = record
    words[(row + SHARD.recordCount) / 4] = header.tensors.size
    bytes.writeBigUInt64LE(inode, row + SHARD.inode)
    const nanoseconds = ((modifiedNs % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND // times before 1970 are negative
    bytes.writeBigInt64LE((modifiedNs - nanoseconds) / NS_PER_SECOND, row + SHARD.modifiedSeconds)
    words[(row + SHARD.modifiedNanoseconds) / 4] = Number(nanoseconds)
    for (const [tensor, { dtype, shape, dataOffsets }] of header.tensors) {
      const at = plan.recordsOffset + record * RECORD.byteLength
      const length = dataOffsets[1] - dataOffsets[0]
      u64(at + RECORD.begin, dataOffset + dataOffsets[0])
      u64(at + RECORD.length, length)
      hashes[record] = putName(at + RECORD.nameOffset, tensor)
      words[(at + RECORD.shard) / 4] = shard
      words[(at + RECORD.shapeOffset) / 4] = dimension
      words[(at + RECORD.rank) / 4] = shape.length
      words[(at + RECORD.dtype) / 4] = dtypeNumbers.get(dtype)!
      for (const size of shape) shapes[dimension++] = size
      tensorBytes += length
      record++
    }
  }
  fillEntries(words, hashes, plan)
  sortBuckets(words, bytes, plan)
  bytes.write(plan.metadata, plan.metadataOffset, 'utf8')

  bytes.writeBigUInt64LE(LAYOUT.magic, HEADER.magic)
  words[HEADER.version / 4] = LAYOUT.version
  words[HEADER.tensorCount / 4] = record
  words[HEADER.shardCount / 4] = shards.length
  words[HEADER.bucketCount / 4] = plan.bucketCount
  u64(HEADER.recordsOffset, plan.recordsOffset)
  u64(HEADER.shapesOffset, plan.shapesOffset)
  u64(HEADER.bucketsOffset, plan.bucketsOffset)
  u64(HEADER.entriesOffset, plan.entriesOffset)
  u64(HEADER.shardsOffset, plan.shardsOffset)
  u64(HEADER.namesOffset, plan.namesOffset)
  u64(HEADER.namesLength, nextName)
  u64(HEADER.metadataOffset, plan.metadataOffset)
  u64(HEADER.metadataLength, plan.metadataLength)
  u64(HEADER.totalLength, plan.totalLength)
  u64(HEADER.tensorBytes, tensorBytes)
  return buffer
}

type Plan = ReturnType<typeof measure>

/** Puts every record into its name's bucket. */
function fillEntries(words: Uint32Array, hashes: Uint32Array, plan: Plan): void {
  const { bucketCount } = plan
  const buckets = words.subarray(plan.bucketsOffset / 4)
  const entries = words.subarray(plan.entriesOffset / 4)
  for (const hash of hashes) buckets[bucketOf(hash, bucketCount)]!++
  let end = 0
  for (let bucket = 0; bucket < bucketCount; bucket++) buckets[bucket] = end += buckets[bucket]!
  buckets[bucketCount] = end
  // From the last to the first, so that each bucket's end moves to its beginning.
  for (let record = hashes.length - 1; record >= 0; record--) {
    const hash = hashes[record]!
    const at = (--buckets[bucketOf(hash, bucketCount)]! * ENTRY.byteLength) / 4
    entries[at + ENTRY.hash / 4] = hash
    entries[at + ENTRY.record / 4] = record
  }
}

/** Brings the entries of each bucket into the order of their hashes and names. */
function sortBuckets(words: Uint32Array, bytes: Buffer, plan: Plan): void {
  const { recordsOffset, bucketsOffset, entriesOffset, namesOffset, bucketCount } = plan
  const compareNames = (a: number, b: number): number => bytes.compare(bytes, ...textOf(b), ...textOf(a))
  const textOf = (record: number): [begin: number, end: number] => {
    const at = (recordsOffset + record * RECORD.byteLength) / 4
    const begin = namesOffset + words[at + RECORD.nameOffset / 4]!
    return [begin, begin + words[at + RECORD.nameLength / 4]!]
  }
  for (let bucket = 0; bucket < bucketCount; bucket++) {
    const begin = words[bucketsOffset / 4 + bucket]!
    const end = words[bucketsOffset / 4 + bucket + 1]!
    if (end - begin < 2) continue
    const at = entriesOffset / 4 + (begin * ENTRY.byteLength) / 4
    const entries = Array.from({ length: end - begin }, (_, entry) => {
      const from = at + (entry * ENTRY.byteLength) / 4
      return { hash: words[from + ENTRY.hash / 4]!, record: words[from + ENTRY.record / 4]! }
    })
    entries.sort((a, b) => a.hash - b.hash || compareNames(a.record, b.record))
    for (const [entry, { hash, record }] of entries.entries()) {
      const before = entries[entry - 1]
      if (before !== undefined && before.hash === hash && compareNames(before.record, record) === 0) {
        const tensor = bytes.toString('utf8', ...textOf(record))
        throw new CheckpointError('TENSOR_IN_TWO_SHARDS', `Tensor ${quoteName(tensor)} comes twice`, { tensor })
      }
      const to = at + (entry * ENTRY.byteLength) / 4
      words[to + ENTRY.hash / 4] = hash
      words[to + ENTRY.record / 4] = record
    }
  }
}

/** Where each section begins, from the counts alone. */
function measure(shards: readonly DirectorySource[]) {
  let tensors = 0
  let dimensions = 0
  let names = 0
  for (const { name, path, header } of shards) {
    names += Buffer.byteLength(name) + Buffer.byteLength(path)
    tensors += header.tensors.size
    for (const [tensor, { shape }] of header.tensors) {
      names += Buffer.byteLength(tensor)
      dimensions += shape.length
    }
  }
  if (names > MAX_NAMES_BYTES || tensors > MAX_TENSORS) {
    const message = `Checkpoint has ${tensors} tensors and ${names} bytes of names; a directory holds at most ${MAX_TENSORS} and ${MAX_NAMES_BYTES}`
    throw new CheckpointError('CHECKPOINT_TOO_LARGE', message)
  }
  const metadata = JSON.stringify(shards.map(({ header }) => header.metadata && [...header.metadata]))
  const bucketCount = 2 ** Math.ceil(Math.log2(Math.max(2, tensors)))
  const align = (offset: number): number => Math.ceil(offset / 8) * 8
  const recordsOffset = HEADER.byteLength
  const shapesOffset = recordsOffset + tensors * RECORD.byteLength
  const bucketsOffset = shapesOffset + dimensions * LAYOUT.dimension.byteLength
  const entriesOffset = align(bucketsOffset + (bucketCount + 1) * LAYOUT.bucket.byteLength)
  const shardsOffset = entriesOffset + tensors * ENTRY.byteLength
  const namesOffset = shardsOffset + shards.length * SHARD.byteLength
  const metadataOffset = align(namesOffset + names)
  const metadataLength = Buffer.byteLength(metadata)
  const totalLength = align(metadataOffset + metadataLength)
  const sections = {
    recordsOffset,
    shapesOffset,
    bucketsOffset,
    entriesOffset,
    shardsOffset,
    namesOffset,
    metadataOffset,
  }
  return { ...sections, metadata, metadataLength, bucketCount, totalLength, tensors, dimensions }
}
