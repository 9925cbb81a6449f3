import type { BigIntStats } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { type MetadataInput, serializeHeader } from '@onecopy/safetensors'
import type { TensorView } from './tensor-view.ts'
import { type BytesOf, bytesToWrite, type TensorToSave } from './tensors-to-save.ts'

/** One write call: Node writes at most 2 GiB at a time, and progress wants smaller steps. */
const MAX_WRITE_BYTES = 64 * 2 ** 20

/** What a shard's writing reports and listens to. */
export interface WriteHooks {
  readonly onBytes: (byteLength: number) => void
  readonly signal: AbortSignal | undefined
}

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
  const file = await open(path, 'wx')
  try {
    await writeAll(file, bytes, hooks)
    for (const name of layout.keys()) {
      const data = await bytesToWrite(byName.get(name)!)
      await writeAll(file, data, hooks)
    }
    await file.sync()
    return await file.stat({ bigint: true })
  } finally {
    await file.close()
  }
}

async function writeAll(
  file: FileHandle,
  { buffer, byteOffset, byteLength }: BytesOf,
  hooks: WriteHooks,
): Promise<void> {
  for (let done = 0; done < byteLength; ) {
    hooks.signal?.throwIfAborted()
    const window = new Uint8Array(buffer, byteOffset + done, Math.min(MAX_WRITE_BYTES, byteLength - done))
    const { bytesWritten } = await file.write(window)
    done += bytesWritten
    hooks.onBytes(bytesWritten)
  }
}
