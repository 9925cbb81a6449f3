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

const dtypeCodes = new Map<Dtype, number>(DTYPE_NAMES.map((dtype, code) => [dtype, code]))

/**
 * Lays out the directory of a checkpoint in shared memory, once, for every thread and process that will read it.
 * @throws CheckpointError CHECKPOINT_TOO_LARGE when the names of all tensors exceed 4 GiB
 */
export function buildDirectory(shards: readonly DirectorySource[]): SharedArrayBuffer {
  const plan = measure(shards)
  const bytes = Buffer.alloc(plan.totalLength)
  const table = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const u32 = (at: number, value: number): void => table.setUint32(at, value, true)
  const u64 = (at: number, value: number): void => {
    u32(at, value >>> 0)
    u32(at + 4, Math.floor(value / 2 ** 32))
  }
  let nextName = 0
  const putName = (name: string): [offset: number, length: number] => {
    const offset = nextName
    const length = bytes.write(name, plan.namesOffset + offset, 'utf8')
    nextName += length
    return [offset, length]
  }

  let record = 0
  let dimension = 0
  let tensorBytes = 0
  for (const [shard, source] of shards.entries()) {
    const { name, path, byteLength, dataOffset, header, inode = 0n, modifiedNs = 0n } = source
    const row = plan.shardsOffset + shard * SHARD.byteLength
    const [nameOffset, nameLength] = putName(name)
    const [pathOffset, pathLength] = putName(path)
    u64(row + SHARD.fileLength, byteLength)
    u64(row + SHARD.dataOffset, dataOffset)
    u32(row + SHARD.nameOffset, nameOffset)
    u32(row + SHARD.nameLength, nameLength)
    u32(row + SHARD.pathOffset, pathOffset)
    u32(row + SHARD.pathLength, pathLength)
    u32(row + SHARD.firstRecord, record)
    u32(row + SHARD.recordCount, header.tensors.size)
    table.setBigUint64(row + SHARD.inode, inode, true)
    table.setBigUint64(row + SHARD.modifiedNs, modifiedNs, true)
    for (const [tensor, { dtype, shape, dataOffsets }] of header.tensors) {
      const at = plan.recordsOffset + record * RECORD.byteLength
      const [begin, end] = dataOffsets
      const [offset, length] = putName(tensor)
      const nameHash = hashName(bytes, plan.namesOffset + offset, plan.namesOffset + offset + length)
      u64(at + RECORD.begin, dataOffset + begin)
      u64(at + RECORD.length, end - begin)
      u32(at + RECORD.nameOffset, offset)
      u32(at + RECORD.nameLength, length)
      u32(at + RECORD.nameHash, nameHash)
      u32(at + RECORD.shard, shard)
      u32(at + RECORD.shapeOffset, dimension)
      u32(at + RECORD.rank, shape.length)
      u32(at + RECORD.dtype, dtypeCodes.get(dtype)!)
      for (const size of shape) {
        table.setFloat64(plan.shapesOffset + dimension * LAYOUT.dimension.byteLength, size, true)
        dimension++
      }
      const mask = plan.slotCount - 1
      let slot = nameHash & mask
      while (table.getUint32(plan.slotsOffset + slot * LAYOUT.slot.byteLength, true) !== 0) slot = (slot + 1) & mask
      record++
      u32(plan.slotsOffset + slot * LAYOUT.slot.byteLength, record)
      tensorBytes += end - begin
    }
  }
  bytes.write(plan.metadata, plan.metadataOffset, 'utf8')

  table.setBigUint64(HEADER.magic, LAYOUT.magic, true)
  u32(HEADER.version, LAYOUT.version)
  u32(HEADER.tensorCount, record)
  u32(HEADER.shardCount, shards.length)
  u32(HEADER.slotCount, plan.slotCount)
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

  const shared = new SharedArrayBuffer(plan.totalLength)
  new Uint8Array(shared).set(bytes)
  return shared
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
  return { ...sections, metadata, metadataLength, slotCount, totalLength }
}
