import { DTYPE_NAMES, type Dtype, type Header } from '@onecopy/safetensors'
import { hashName, LAYOUT } from './directory-layout.ts'
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

const { header: HEADER, record: RECORD, shard: SHARD } = LAYOUT
const MAX_NAMES_BYTES = 2 ** 32 - 1 // names are found by u32 offsets

const dtypeNumbers = new Map<Dtype, number>(DTYPE_NAMES.map((dtype, number) => [dtype, number]))

/**
 * Lays out the directory of a checkpoint in shared memory, once, for every thread and process that will read it.
 * @throws CheckpointError CHECKPOINT_TOO_LARGE when the names of all tensors exceed 4 GiB, TENSOR_IN_TWO_SHARDS for a name
 * that comes twice
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
  for (const [shard, { name, path, byteLength, dataOffset, header, inode = 0n, modifiedNs = 0n }] of shards.entries()) {
    const row = plan.shardsOffset + shard * SHARD.byteLength
    u64(row + SHARD.fileLength, byteLength)
    u64(row + SHARD.dataOffset, dataOffset)
    putName(row + SHARD.nameOffset, name)
    putName(row + SHARD.pathOffset, path)
    words[(row + SHARD.firstRecord) / 4] = record
    words[(row + SHARD.recordCount) / 4] = header.tensors.size
    bytes.writeBigUInt64LE(inode, row + SHARD.inode)
    bytes.writeBigUInt64LE(modifiedNs, row + SHARD.modifiedNs)
    for (const [tensor, { dtype, shape, dataOffsets }] of header.tensors) {
      const at = plan.recordsOffset + record * RECORD.byteLength
      const length = dataOffsets[1] - dataOffsets[0]
      u64(at + RECORD.begin, dataOffset + dataOffsets[0])
      u64(at + RECORD.length, length)
      words[(at + RECORD.nameHash) / 4] = putName(at + RECORD.nameOffset, tensor)
      words[(at + RECORD.shard) / 4] = shard
      words[(at + RECORD.shapeOffset) / 4] = dimension
      words[(at + RECORD.rank) / 4] = shape.length
      words[(at + RECORD.dtype) / 4] = dtypeNumbers.get(dtype)!
      for (const size of shape) shapes[dimension++] = size
      tensorBytes += length
      record++
    }
  }
  fillSlots(words, bytes, plan)
  bytes.write(plan.metadata, plan.metadataOffset, 'utf8')

  bytes.writeBigUInt64LE(LAYOUT.magic, HEADER.magic)
  words[HEADER.version / 4] = LAYOUT.version
  words[HEADER.tensorCount / 4] = record
  words[HEADER.shardCount / 4] = shards.length
  words[HEADER.slotCount / 4] = plan.slotCount
  u64(HEADER.recordsOffset, plan.recordsOffset)
  u64(HEADER.shapesOffset, plan.shapesOffset)
  u64(HEADER.slotsOffset, plan.slotsOffset)
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

/** Enters every record under its name's hash. */
function fillSlots(words: Uint32Array, bytes: Buffer, plan: Plan): void {
  const { recordsOffset, slotsOffset, namesOffset, slotCount, tensors } = plan
  const slots = words.subarray(slotsOffset / 4, slotsOffset / 4 + slotCount)
  const records = words.subarray(recordsOffset / 4)
  const stride = RECORD.byteLength / 4
  const textAt = (record: number): [begin: number, end: number] => {
    const begin = namesOffset + records[record * stride + RECORD.nameOffset / 4]!
    return [begin, begin + records[record * stride + RECORD.nameLength / 4]!]
  }
  for (let record = 0; record < tensors; record++) {
    const hash = records[record * stride + RECORD.nameHash / 4]!
    let slot = hash & (slotCount - 1)
    for (; slots[slot] !== 0; slot = (slot + 1) & (slotCount - 1)) {
      const other = slots[slot]! - 1
      if (records[other * stride + RECORD.nameHash / 4] !== hash) continue
      const [begin, end] = textAt(record)
      if (bytes.compare(bytes, ...textAt(other), begin, end) !== 0) continue
      const tensor = bytes.toString('utf8', begin, end)
      throw new CheckpointError('TENSOR_IN_TWO_SHARDS', `Tensor ${JSON.stringify(tensor)} comes twice`, { tensor })
    }
    slots[slot] = record + 1
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
  if (names > MAX_NAMES_BYTES) {
    const message = `Checkpoint has ${names} bytes of tensor names; a directory holds at most ${MAX_NAMES_BYTES}`
    throw new CheckpointError('CHECKPOINT_TOO_LARGE', message)
  }
  const metadata = JSON.stringify(shards.map(({ header }) => header.metadata && [...header.metadata]))
  const slotCount = 2 ** Math.ceil(Math.log2(Math.max(2, tensors * 2)))
  const align = (offset: number): number => Math.ceil(offset / 8) * 8
  const recordsOffset = HEADER.byteLength
  const shapesOffset = recordsOffset + tensors * RECORD.byteLength
  const slotsOffset = shapesOffset + dimensions * LAYOUT.dimension.byteLength
  const shardsOffset = slotsOffset + slotCount * LAYOUT.slot.byteLength
  const namesOffset = shardsOffset + shards.length * SHARD.byteLength
  const metadataOffset = align(namesOffset + names)
  const metadataLength = Buffer.byteLength(metadata)
  const totalLength = align(metadataOffset + metadataLength)
  const sections = { recordsOffset, shapesOffset, slotsOffset, shardsOffset, namesOffset, metadataOffset }
  return { ...sections, metadata, metadataLength, slotCount, totalLength, tensors, dimensions }
}
