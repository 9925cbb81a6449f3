import { DTYPE_NAMES, type Dtype, layoutText, type TensorIndex, tensorIndex } from '@onecopy/safetensors/tensors'
import type { ByteRange, PartTable } from '@onecopy/sharedarraybuffer-utils/mapped'
import { breather } from './breather.ts'
import { bucketOf, hashName, LAYOUT } from './directory-layout.ts'
import { CheckpointError } from './errors.ts'

/** In hex. Node's crypto takes a millisecond to load, in every thread, and most ask for no fingerprint. */
function sha256(data: string | Uint8Array): string {
  return process.getBuiltinModule('node:crypto').createHash('sha256').update(data).digest('hex')
}

/** Bytes: a millisecond or two. */
const HASHED_AT_ONCE = 2 ** 20

const LONE_SURROGATE = /\p{Surrogate}/u

const { header: HEADER, record: RECORD, entry: ENTRY, shard: SHARD } = LAYOUT

/** Where one tensor is, as the directory tells it. */
export interface TensorEntry {
  readonly shard: number
  readonly dtype: Dtype
  readonly shape: readonly number[]
  readonly begin: number // first byte in the shard file
  readonly end: number // exclusive
}

/** One shard of a checkpoint. */
export interface ShardInfo {
  readonly name: string
  /** Where the file was when the checkpoint was opened. */
  readonly path: string
  readonly byteLength: number // of the whole file
  readonly dataOffset: number // first byte behind the header
  readonly tensorCount: number
  /** Which state of the file it was; both 0 where that is not known. */
  readonly inode: bigint
  readonly modifiedNs: bigint // since the epoch
  /** The shard's `__metadata__`, or null when it has none. */
  readonly metadata: ReadonlyMap<string, string> | null
}

/**
 * Reads the table that `buildDirectory` laid out. Making one decodes nothing, so a further thread or process pays
 * nothing for the tensors that it does not ask for.
 */
export class Directory {
  readonly buffer: SharedArrayBuffer
  readonly tensorCount: number
  readonly shardCount: number
  /** Sum of all tensors' bytes. */
  readonly tensorBytes: number
  readonly #namesOffset: number
  readonly #words: Uint32Array
  readonly #bytes: Buffer
  readonly #shapes: Float64Array
  readonly #bucketCount: number
  readonly #bucketsAt: number // in words, like every #…At
  readonly #entriesAt: number
  readonly #recordsAt: number
  readonly #shardsAt: number
  #names: readonly string[] | undefined
  #shards: readonly ShardInfo[] | undefined
  #metadata: readonly ShardInfo['metadata'][] | undefined
  #fingerprint: string | undefined
  #layout: string | undefined
  #scratch = Buffer.alloc(256)

  /** @throws CheckpointError DIRECTORY_INVALID when the memory is not a directory of this version */
  constructor(buffer: SharedArrayBuffer) {
    const table = new DataView(buffer)
    const fits = buffer.byteLength >= HEADER.byteLength && buffer.byteLength % 4 === 0
    if (!fits || table.getBigUint64(HEADER.magic, true) !== LAYOUT.magic) {
      throw new CheckpointError('DIRECTORY_INVALID', `Memory of ${buffer.byteLength} bytes is not a onecopy directory`)
    }
    const version = table.getUint32(HEADER.version, true)
    if (version !== LAYOUT.version) {
      const message = `Directory has version ${version}; this onecopy reads version ${LAYOUT.version}`
      throw new CheckpointError('DIRECTORY_INVALID', message)
    }
    if (!isConsistent(table)) {
      const message = `Directory of ${buffer.byteLength} bytes is cut off, or its sections do not follow each other`
      throw new CheckpointError('DIRECTORY_INVALID', message)
    }
    this.buffer = buffer
    this.#words = new Uint32Array(buffer)
    this.#bytes = Buffer.from(buffer)
    this.tensorCount = this.#u32(HEADER.tensorCount)
    this.shardCount = this.#u32(HEADER.shardCount)
    this.tensorBytes = this.#u64(HEADER.tensorBytes)
    this.#namesOffset = this.#u64(HEADER.namesOffset)
    const shapes = this.#u64(HEADER.shapesOffset)
    const buckets = this.#u64(HEADER.bucketsOffset)
    this.#shapes = new Float64Array(buffer, shapes, (buckets - shapes) / LAYOUT.dimension.byteLength)
    this.#bucketCount = this.#u32(HEADER.bucketCount)
    this.#bucketsAt = buckets / 4
    this.#entriesAt = this.#u64(HEADER.entriesOffset) / 4
    this.#recordsAt = this.#u64(HEADER.recordsOffset) / 4
    this.#shardsAt = this.#u64(HEADER.shardsOffset) / 4
  }

  /** Names of all tensors in file order: by shard, then by first byte. */
  get names(): readonly string[] {
    this.#names ??= Object.freeze(Array.from({ length: this.tensorCount }, (_, record) => this.nameOf(record)))
    return this.#names
  }

  get shards(): readonly ShardInfo[] {
    this.#shards ??= this.#readShards()
    return this.#shards
  }

  /** The number of the record with this name, or -1. */
  find(name: string): number {
    // Text that is not Unicode would be encoded as U+FFFD and could match a name that really has one.
    if (LONE_SURROGATE.test(name)) return -1
    if (this.#scratch.byteLength < name.length * 3) this.#scratch = Buffer.alloc(name.length * 3)
    const text = this.#scratch
    const length = text.write(name, 'utf8')
    const hash = hashName(text, 0, length)
    const bucket = this.#bucketsAt + bucketOf(hash, this.#bucketCount)
    let low = this.#words[bucket]!
    let high = this.#words[bucket + 1]!
    while (low < high) {
      const middle = (low + high) >>> 1
      const at = this.#entriesAt + (middle * ENTRY.byteLength) / 4
      const record = this.#words[at + ENTRY.record / 4]!
      const order = this.#words[at + ENTRY.hash / 4]! - hash || this.#compareName(record, text, length)
      if (order === 0) return record
      if (order < 0) low = middle + 1
      else high = middle
    }
    return -1
  }

  /** How a record's name stands to a text: below 0 when it comes before. */
  #compareName(record: number, text: Buffer, length: number): number {
    const at = this.#recordAt(record)
    const offset = this.#namesOffset + this.#words[at + RECORD.nameOffset / 4]!
    const own = this.#words[at + RECORD.nameLength / 4]!
    const both = Math.min(own, length)
    for (let same = 0; same < both; same++) {
      const difference = this.#bytes[offset + same]! - text[same]!
      if (difference !== 0) return difference
    }
    return own - length
  }

  /** The number of the shard that holds a record. */
  shardOf(record: number): number {
    return this.#words[this.#recordAt(record) + RECORD.shard / 4]!
  }

  nameOf(record: number): string {
    const at = this.#recordAt(record)
    return this.#text(this.#words[at + RECORD.nameOffset / 4]!, this.#words[at + RECORD.nameLength / 4]!)
  }

  entry(record: number): TensorEntry {
    const at = this.#recordAt(record)
    const begin = this.#u64At(at + RECORD.begin / 4)
    const shapeOffset = this.#words[at + RECORD.shapeOffset / 4]!
    const rank = this.#words[at + RECORD.rank / 4]!
    return {
      shard: this.#words[at + RECORD.shard / 4]!,
      dtype: DTYPE_NAMES[this.#words[at + RECORD.dtype / 4]!]!,
      shape: Object.freeze(Array.from(this.#shapes.subarray(shapeOffset, shapeOffset + rank))),
      begin,
      end: begin + this.#u64At(at + RECORD.length / 4),
    }
  }

  /** Where the tensors of a shard stand in its file, in bytes, in their order. */
  tensorRanges(shard: number): readonly ByteRange[] {
    const at = this.#shardsAt + (shard * SHARD.byteLength) / 4
    const first = this.#words[at + SHARD.firstRecord / 4]!
    return Array.from({ length: this.#words[at + SHARD.recordCount / 4]! }, (_, tensor) => {
      const record = this.#recordAt(first + tensor)
      const begin = this.#u64At(record + RECORD.begin / 4)
      return { begin, end: begin + this.#u64At(record + RECORD.length / 4) }
    })
  }

  /** What the headers said, without where the files are. */
  get index(): TensorIndex {
    const records = Array.from({ length: this.tensorCount }, (_, record) => {
      return { name: this.nameOf(record), ...this.entry(record) }
    })
    return tensorIndex(this.shards, records)
  }

  /** sha256 of the index's `layoutText`, in hex. */
  get layout(): string {
    this.#layout ??= sha256(layoutText(this.index))
    return this.#layout
  }

  /** sha256 of the directory, in hex. */
  get fingerprint(): string {
    this.#fingerprint ??= sha256(this.#bytes)
    return this.#fingerprint
  }

  /** The fingerprint, while others have their turns: that of the largest directories takes a second. */
  async computeFingerprint(): Promise<string> {
    const hash = process.getBuiltinModule('node:crypto').createHash('sha256')
    const breathe = breather()
    for (let at = 0; this.#fingerprint === undefined && at < this.#bytes.byteLength; at += HASHED_AT_ONCE) {
      hash.update(this.#bytes.subarray(at, at + HASHED_AT_ONCE))
      await breathe()
    }
    this.#fingerprint ??= hash.digest('hex')
    return this.#fingerprint
  }

  /**
   * Sees to it that shards which came from elsewhere are those of this directory.
   * @throws CheckpointError DIRECTORY_INVALID
   */
  assertDescribes(byteLengths: readonly number[]): void {
    // From the table: what else there is to say of a shard is decoded for nobody who only attaches.
    const expected = Array.from({ length: this.shardCount }, (_, shard) =>
      this.#u64At(this.#shardsAt + (shard * SHARD.byteLength + SHARD.fileLength) / 4),
    )
    if (expected.length === byteLengths.length && expected.every((length, at) => length === byteLengths[at])) return
    const message = `Directory describes shards of ${expected.join(', ')} bytes; those given have ${byteLengths.join(', ')}`
    throw new CheckpointError('DIRECTORY_INVALID', message)
  }

  /** Where the names of a shard's tensors stand, for the report of a stray write. */
  partTable(shard: number): PartTable {
    const at = this.#shardsAt + (shard * SHARD.byteLength) / 4
    return {
      buffer: this.buffer,
      recordsOffset: this.#u64(HEADER.recordsOffset) + this.#words[at + SHARD.firstRecord / 4]! * RECORD.byteLength,
      stride: RECORD.byteLength,
      count: this.#words[at + SHARD.recordCount / 4]!,
      beginField: RECORD.begin,
      lengthField: RECORD.length,
      nameOffsetField: RECORD.nameOffset,
      nameLengthField: RECORD.nameLength,
      namesOffset: this.#namesOffset,
    }
  }

  #readShards(): readonly ShardInfo[] {
    const metadata = (shard: number): ShardInfo['metadata'] => this.#metadataOf(shard)
    return Object.freeze(
      Array.from({ length: this.shardCount }, (_, shard) => {
        const at = this.#shardsAt + (shard * SHARD.byteLength) / 4
        return Object.freeze({
          name: this.#text(this.#words[at + SHARD.nameOffset / 4]!, this.#words[at + SHARD.nameLength / 4]!),
          path: this.#text(this.#words[at + SHARD.pathOffset / 4]!, this.#words[at + SHARD.pathLength / 4]!),
          byteLength: this.#u64At(at + SHARD.fileLength / 4),
          dataOffset: this.#u64At(at + SHARD.dataOffset / 4),
          tensorCount: this.#words[at + SHARD.recordCount / 4]!,
          inode: this.#bigAt(at + SHARD.inode / 4),
          modifiedNs: this.#nanosecondsAt(at),
          // Decoded when it is asked for: it may be as long as a header, and opening has no use for it.
          get metadata() {
            return metadata(shard)
          },
        })
      }),
    )
  }

  #metadataOf(shard: number): ShardInfo['metadata'] {
    this.#metadata ??= this.#readMetadata()
    return this.#metadata[shard] ?? null
  }

  #readMetadata(): readonly ShardInfo['metadata'][] {
    const from = this.#u64(HEADER.metadataOffset)
    const json = this.#bytes.toString('utf8', from, from + this.#u64(HEADER.metadataLength))
    const pairs = JSON.parse(json) as ([string, string][] | null)[]
    return pairs.map((entries) => entries && new Map(entries))
  }

  #recordAt(record: number): number {
    return this.#recordsAt + (record * RECORD.byteLength) / 4
  }

  #text(offset: number, length: number): string {
    const begin = this.#namesOffset + offset
    return this.#bytes.toString('utf8', begin, begin + length)
  }

  #u32(byteOffset: number): number {
    return this.#words[byteOffset / 4]!
  }

  #u64(byteOffset: number): number {
    return this.#u64At(byteOffset / 4)
  }

  #bigAt(word: number): bigint {
    return BigInt(this.#words[word]!) | (BigInt(this.#words[word + 1]!) << 32n)
  }

  #nanosecondsAt(shard: number): bigint {
    const seconds = BigInt.asIntN(64, this.#bigAt(shard + SHARD.modifiedSeconds / 4))
    return seconds * 1_000_000_000n + BigInt(this.#words[shard + SHARD.modifiedNanoseconds / 4]!)
  }

  #u64At(word: number): number {
    return this.#words[word]! + this.#words[word + 1]! * 2 ** 32
  }
}

/** Whether the sections stand in their order, have their sizes, and end within the memory. */
function isConsistent(table: DataView): boolean {
  const u64 = (at: number): number => Number(table.getBigUint64(at, true))
  const u32 = (at: number): number => table.getUint32(at, true)
  const bucketCount = u32(HEADER.bucketCount)
  const records = u64(HEADER.recordsOffset)
  const buckets = u64(HEADER.bucketsOffset)
  const entries = u64(HEADER.entriesOffset)
  const shards = u64(HEADER.shardsOffset)
  const metadata = u64(HEADER.metadataOffset)
  const sizes: readonly (readonly [begin: number, size: number, limit: number])[] = [
    [records, u32(HEADER.tensorCount) * RECORD.byteLength, u64(HEADER.shapesOffset)],
    [u64(HEADER.shapesOffset), 0, buckets],
    [buckets, (bucketCount + 1) * LAYOUT.bucket.byteLength, entries],
    [entries, u32(HEADER.tensorCount) * ENTRY.byteLength, shards],
    [shards, u32(HEADER.shardCount) * SHARD.byteLength, u64(HEADER.namesOffset)],
    [u64(HEADER.namesOffset), u64(HEADER.namesLength), metadata],
    [metadata, u64(HEADER.metadataLength), u64(HEADER.totalLength)],
  ]
  const ordered = sizes.every(([begin, size, limit]) => begin % 8 === 0 && begin + size <= limit)
  const searchable = bucketCount >= 2 && (bucketCount & (bucketCount - 1)) === 0
  return ordered && searchable && records >= HEADER.byteLength && u64(HEADER.totalLength) <= table.byteLength
}
