import type { Header, ShardIndex } from '@onecopy/safetensors'
import { quoteName } from '@onecopy/safetensors'
import { CheckpointError } from './errors.ts'

/** The part of a shard that the cross-check looks at. */
export interface CheckedShard {
  readonly name: string
  readonly path: string
  readonly header: Header
}

/**
 * Compares the shards with each other and with their index, in both directions, so that nothing is silently missing,
 * skipped or taken from the wrong file.
 * @param index null where the shards came without one
 * @throws CheckpointError SHARD_FOREIGN, TENSOR_IN_NO_SHARD, TENSOR_IN_OTHER_SHARD, TENSOR_IN_TWO_SHARDS,
 * TENSOR_NOT_IN_INDEX
 */
export function crossCheck(index: ShardIndex | null, shards: readonly CheckedShard[], label: string): void {
  if (index === null) {
    if (shards.length > 1) assertDisjoint(shards)
    return
  }
  const byName = new Map(shards.map((shard) => [shard.name, shard]))
  const expectedCounts = new Map<string, number>()
  for (const [tensor, shardName] of index.weightMap) {
    expectedCounts.set(shardName, (expectedCounts.get(shardName) ?? 0) + 1)
    if (!byName.get(shardName)!.header.tensors.has(tensor))
      throw explainAbsence(tensor, shardName, shards, index, label)
  }
  for (const { name, path, header } of shards) {
    // Every tensor of the index was found in its shard, so equal counts mean equal sets.
    if (header.tensors.size === expectedCounts.get(name)) continue
    for (const tensor of header.tensors.keys()) {
      const mapped = index.weightMap.get(tensor)
      if (mapped === name) continue
      if (mapped !== undefined) throw twice(tensor, path, mapped)
      const message = `Tensor ${quoteName(tensor)} of shard "${path}" is not in the index "${label}"; it would never be loaded`
      throw new CheckpointError('TENSOR_NOT_IN_INDEX', message, { tensor, path })
    }
  }
}

/** Why a tensor is not in the shard that the index names for it. */
function explainAbsence(
  tensor: string,
  shardName: string,
  shards: readonly CheckedShard[],
  index: ShardIndex,
  label: string,
): CheckpointError {
  const shard = shards.find(({ name }) => name === shardName)!
  const mapped = [...index.weightMap].filter(([, name]) => name === shardName)
  if (!mapped.some(([name]) => shard.header.tensors.has(name))) {
    const own = shard.header.tensors.keys().next().value
    const holds = own === undefined ? 'no tensor at all' : `others, such as ${quoteName(own)}`
    const message = `Shard "${shard.path}" belongs to another checkpoint: the index "${label}" expects ${mapped.length} tensors in it, such as ${quoteName(tensor)}, and it holds ${holds}`
    return new CheckpointError('SHARD_FOREIGN', message, { tensor, path: shard.path })
  }
  const holder = shards.find(({ header }) => header.tensors.has(tensor))
  if (holder !== undefined) {
    const message = `Tensor ${quoteName(tensor)} is in shard "${holder.path}"; the index "${label}" says that it is in "${shardName}"`
    return new CheckpointError('TENSOR_IN_OTHER_SHARD', message, { tensor, path: holder.path })
  }
  const message = `Tensor ${quoteName(tensor)} is in the index "${label}", which says that it is in "${shardName}", but no shard holds it (a tied tensor that was not saved has no place in the index)`
  return new CheckpointError('TENSOR_IN_NO_SHARD', message, { tensor, path: shard.path })
}

function assertDisjoint(shards: readonly CheckedShard[]): void {
  const seen = new Map<string, string>()
  for (const { path, header } of shards) {
    for (const tensor of header.tensors.keys()) {
      const other = seen.get(tensor)
      if (other !== undefined) throw twice(tensor, path, other)
      seen.set(tensor, path)
    }
  }
}

function twice(tensor: string, path: string, other: string): CheckpointError {
  const message = `Tensor ${quoteName(tensor)} is in two shards: "${other}" and "${path}"`
  return new CheckpointError('TENSOR_IN_TWO_SHARDS', message, { tensor, path })
}
