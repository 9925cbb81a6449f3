import { type FileHandle, open } from 'node:fs/promises'
import { quoteName, serializeHeader } from '@onecopy/safetensors'
import { CheckpointError } from './errors.ts'
import type { TensorSpec } from './plan-shards.ts'
import { TensorView } from './tensor-view.ts'

/** Bytes somewhere in a buffer; every ArrayBufferView is one. */
export interface BytesOf {
  readonly buffer: ArrayBufferLike
  readonly byteOffset: number
  readonly byteLength: number
}

/** A tensor to be written. `data` may be a function, called when its turn comes: so a save needs no more than one tensor. */
export interface TensorToSave extends TensorSpec {
  /** The elements, little-endian, in C order. */
  readonly data: BytesOf | (() => BytesOf | Promise<BytesOf>)
}

/** One write call: Node writes at most 2 GiB at a time, and progress wants smaller steps. */
const MAX_WRITE_BYTES = 64 * 2 ** 20

/** What a shard's writing reports and listens to. */
export interface WriteHooks {
  readonly onBytes: (byteLength: number) => void
  readonly signal: AbortSignal | undefined
}

/**
 * Writes one shard to a new file and syncs it to the disk.
 * @throws CheckpointError SAVE_INVALID when a tensor's data has not the length that its dtype and shape need
 */
export async function writeShard(
  path: string,
  tensors: readonly (TensorToSave | TensorView)[],
  metadata: Readonly<Record<string, string>> | null,
  hooks: WriteHooks,
): Promise<void> {
  const { bytes, layout } = serializeHeader(tensors, metadata)
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]))
  const file = await open(path, 'wx')
  try {
    await writeAll(file, bytes, hooks)
    for (const [name, [begin, end]] of layout) {
      const data = await bytesOf(byName.get(name)!)
      if (data.byteLength !== end - begin) {
        const message = `Tensor ${quoteName(name)} has ${data.byteLength} bytes of data; its dtype and shape need ${end - begin}`
        throw new CheckpointError('SAVE_INVALID', message, { tensor: name })
      }
      await writeAll(file, data, hooks)
    }
    await file.sync()
  } finally {
    await file.close()
  }
}

async function bytesOf(tensor: TensorToSave | TensorView): Promise<BytesOf> {
  // A view's `data` would refuse more elements than a typed array can index; its buffer has no such limit.
  if (tensor instanceof TensorView) return { buffer: tensor.buffer, byteOffset: 0, byteLength: tensor.byteLength }
  return typeof tensor.data === 'function' ? tensor.data() : tensor.data
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
