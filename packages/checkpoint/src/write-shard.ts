import type { BigIntStats } from 'node:fs'
import { type MetadataInput, serializeHeader } from '@onecopy/safetensors'
import { NewFile, type WriteHooks } from './new-file.ts'
import type { TensorView } from './tensor-view.ts'
import { bytesToWrite, type TensorToSave } from './tensors-to-save.ts'

/**
 * Writes one shard to a new file and syncs it to the disk.
 * @returns the file's state behind the last byte
 * @throws CheckpointError SAVE_INVALID when a tensor's data has not the length that its dtype and shape need
 */
export async function writeShard(
  path: string,
  tensors: readonly (TensorToSave | TensorView)[],
  metadata: MetadataInput,
  hooks: WriteHooks,
): Promise<BigIntStats> {
  const { bytes, layout } = serializeHeader(tensors, metadata)
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]))
  using file = new NewFile(path)
  await file.write(bytes, hooks)
  for (const name of layout.keys()) await file.write(await bytesToWrite(byName.get(name)!), hooks)
  return await file.sync()
}
