import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { closeSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  parseSafetensors,
  serializeHeader,
  serializeShardIndex,
  shardFileName,
  type TensorSpec,
} from '@onecopy/safetensors'

export { temporaryFolder } from './temporary-folder.ts'

/** Runs a program of test/programs in a fresh process and waits for its end. */
export function runProgram(name: string, ...args: string[]): SpawnSyncReturns<string> {
  const program = fileURLToPath(new URL(`./programs/${name}`, import.meta.url))
  return spawnSync(process.execPath, ['--expose-gc', program, ...args], { encoding: 'utf8', timeout: 100_000 })
}

/**
 * Writes a sharded checkpoint whose tensors are holes: it has its full size for every reader and takes no disk space.
 * @returns its folder
 */
export function writeSparseCheckpoint(folder: string, shards: readonly (readonly TensorSpec[])[]): string {
  const weightMap = new Map<string, string>()
  let totalSize = 0
  for (const [at, tensors] of shards.entries()) {
    const name = shardFileName({ index: at + 1, count: shards.length })
    const { bytes, dataByteLength } = serializeHeader(tensors)
    writeFileSync(join(folder, name), bytes)
    truncateSync(join(folder, name), bytes.byteLength + dataByteLength)
    for (const tensor of tensors) weightMap.set(tensor.name, name)
    totalSize += dataByteLength
  }
  writeFileSync(join(folder, 'model.safetensors.index.json'), serializeShardIndex({ weightMap, totalSize }))
  return folder
}

/** Between the beginnings of two islands of real bytes in a file of `sprinkle`. */
const ISLAND_STRIDE = 2 ** 20
const ISLAND_BYTES = 8192

/** Writes random bytes here and there into the holes of sparse shards, so that no two tensors are the same. */
export function sprinkle(shardPaths: readonly string[]): void {
  for (const path of shardPaths) {
    const file = readFileSync(path)
    const data = 8 + Number(file.readBigUInt64LE())
    const descriptor = openSync(path, 'r+')
    for (let at = data; at < file.byteLength; at += ISLAND_STRIDE) {
      const bytes = randomBytes(Math.min(ISLAND_BYTES, file.byteLength - at))
      writeSync(descriptor, bytes, 0, bytes.byteLength, at)
    }
    closeSync(descriptor)
  }
}

/** sha256 of every tensor, read with plain file reads. */
export function checksumsOf(shardPaths: readonly string[]): Record<string, string> {
  const checksums: Record<string, string> = {}
  for (const path of shardPaths) {
    const file = readFileSync(path)
    const data = file.subarray(8 + Number(file.readBigUInt64LE()))
    for (const [name, { dataOffsets }] of parseSafetensors(file).tensors) {
      checksums[name] = createHash('sha256')
        .update(data.subarray(...dataOffsets))
        .digest('hex')
    }
  }
  return checksums
}

/** Writes a sparse checkpoint with islands of random bytes: equal shards of equal F32 tensors. */
export function writeSprinkledCheckpoint(
  folder: string,
  size: { readonly shards: number; readonly tensorsInEach: number; readonly tensorBytes: number },
): SprinkledCheckpoint {
  const shards = Array.from({ length: size.shards }, (_, shard) =>
    Array.from({ length: size.tensorsInEach }, (_, at) => ({
      name: `layers.${shard * size.tensorsInEach + at}.weight`,
      dtype: 'F32' as const,
      shape: [size.tensorBytes / 4],
    })),
  )
  writeSparseCheckpoint(folder, shards)
  const shardPaths = shards.map((_, at) => join(folder, shardFileName({ index: at + 1, count: size.shards })))
  sprinkle(shardPaths)
  const byteLength = size.shards * size.tensorsInEach * size.tensorBytes
  return { folder, shardPaths, byteLength, checksums: checksumsOf(shardPaths) }
}

/** What `writeSprinkledCheckpoint` wrote. */
export interface SprinkledCheckpoint {
  readonly folder: string
  readonly shardPaths: readonly string[]
  /** Of all tensors. */
  readonly byteLength: number
  /** sha256 of every tensor. */
  readonly checksums: Readonly<Record<string, string>>
}
