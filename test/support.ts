import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { serializeHeader, serializeShardIndex, shardFileName, type TensorSpec } from '@onecopy/safetensors'
import { onTestFinished } from 'vitest'

/** A folder that is removed when the test ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'onecopy-test-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

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
