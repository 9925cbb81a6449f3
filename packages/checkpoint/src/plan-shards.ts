import {
  assertPlainShardName,
  checkArgument,
  type Dtype,
  quoteName,
  shardFileName,
  tensorByteLength,
} from '@onecopy/safetensors'
import { CheckpointError } from './errors.ts'

/** The name, type and form of a tensor to be written. */
export interface TensorSpec {
  readonly name: string
  readonly dtype: Dtype
  readonly shape: readonly number[]
}

/** One file to be written. */
export interface PlannedShard<Tensor extends TensorSpec> {
  readonly fileName: string
  readonly tensors: readonly Tensor[]
}

/** How the files are called. */
export interface ShardNaming {
  readonly stem: string
  readonly variant: string | null
}

/**
 * Spreads tensors over shards as huggingface_hub does: in the given order, each shard filled until the next tensor would
 * exceed the limit; a tensor larger than the limit gets a shard of its own, numbered before the one being filled.
 * @param maxShardBytes of tensor bytes, without the header
 * @throws RangeError for a limit that is not positive; CheckpointError SAVE_INVALID for a name given twice
 * @throws SafetensorsError for a dtype or shape that cannot be written, SAFETENSORS_UNSAFE_SHARD_NAME for the naming
 */
export function planShards<Tensor extends TensorSpec>(
  tensors: readonly Tensor[],
  maxShardBytes: number,
  naming: ShardNaming,
): PlannedShard<Tensor>[] {
  checkArgument('The option maxShardBytes of saveCheckpoint()', maxShardBytes, {
    must: 'a number of bytes above 0',
    isKind: (value) => typeof value === 'number',
    isWithin: (bytes: number) => bytes > 0,
  })
  const names = new Set<string>()
  const groups: Tensor[][] = []
  let current: Tensor[] = []
  let filled = 0
  for (const tensor of tensors) {
    if (names.has(tensor.name)) {
      throw new CheckpointError('SAVE_INVALID', `Tensor ${quoteName(tensor.name)} is given twice`, {
        tensor: tensor.name,
      })
    }
    names.add(tensor.name)
    const byteLength = tensorByteLength(tensor.dtype, tensor.shape, tensor.name)
    if (byteLength > maxShardBytes) {
      groups.push([tensor])
      continue
    }
    if (filled + byteLength > maxShardBytes) {
      groups.push(current)
      current = []
      filled = 0
    }
    current.push(tensor)
    filled += byteLength
  }
  if (current.length > 0 || groups.length === 0) groups.push(current)
  return groups.map((group, at) => {
    const fileName = shardFileName({ ...naming, index: at + 1, count: groups.length })
    assertPlainShardName(fileName) // a stem or variant with a separator would leave the folder
    return { fileName, tensors: group }
  })
}
