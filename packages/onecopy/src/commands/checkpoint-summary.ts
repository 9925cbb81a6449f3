import { readFile, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Checkpoint, ShardInfo } from '@onecopy/checkpoint'
import { compareDtypes, type Dtype, parseShardIndex, type ShardIndex } from '@onecopy/safetensors'
import { countParameters } from './parameter-count.ts'

/** One tensor of a checkpoint, as its header describes it. */
export interface TensorRow {
  readonly name: string
  readonly dtype: Dtype
  readonly shape: readonly number[]
  readonly parameterCount: number // see `countParameters`
  readonly byteLength: number
  readonly shard: string
  readonly begin: number // first byte in the shard file
  readonly end: number // exclusive
}

/** All tensors of one dtype together. */
export interface DtypeRow {
  readonly dtype: Dtype
  readonly tensorCount: number
  readonly parameterCount: number
  readonly byteLength: number
}

/** What a checkpoint holds. */
export interface CheckpointSummary {
  readonly label: string
  readonly tensorCount: number
  readonly parameterCount: number
  readonly elementCount: number // of all tensors, as they are stored
  readonly byteLength: number // of all tensors
  readonly fileByteLength: number // of all shards, headers included
  readonly dtypes: readonly DtypeRow[] // most bytes first
  readonly shards: readonly ShardInfo[]
  readonly tensors: readonly TensorRow[] // in file order
}

/**
 * Describes every tensor; reads no tensor's bytes.
 * @param config what `config.json` says of the model, which decides what a packed weight counts
 */
export function summarize(checkpoint: Checkpoint, config: unknown = null): CheckpointSummary {
  const dtypes = new Map<Dtype, { tensorCount: number; parameterCount: number; byteLength: number }>()
  const views = [...checkpoint.tensors()]
  const counts = countParameters(views, config)
  const tensors = views.map((view, at): TensorRow => {
    const { name, dtype, shape, byteLength } = view
    const parameterCount = counts[at]!
    const sum = dtypes.get(dtype) ?? { tensorCount: 0, parameterCount: 0, byteLength: 0 }
    dtypes.set(dtype, sum)
    sum.tensorCount++
    sum.parameterCount += parameterCount
    sum.byteLength += byteLength
    const { shard, begin, end } = checkpoint.locate(name)
    return { name, dtype, shape, parameterCount, byteLength, shard, begin, end }
  })
  return {
    label: checkpoint.label,
    tensorCount: tensors.length,
    parameterCount: tensors.reduce((sum, { parameterCount }) => sum + parameterCount, 0),
    elementCount: views.reduce((sum, { elementCount }) => sum + elementCount, 0),
    byteLength: checkpoint.byteLength,
    fileByteLength: checkpoint.shards.reduce((sum, { byteLength }) => sum + byteLength, 0),
    dtypes: [...dtypes]
      .map(([dtype, sum]) => ({ dtype, ...sum }))
      .sort((a, b) => b.byteLength - a.byteLength || compareDtypes(b.dtype, a.dtype)),
    shards: checkpoint.shards,
    tensors,
  }
}

/** What `config.json` beside a checkpoint's files says; null where there is none, or one that is no JSON. */
export async function readConfigOf({ shards }: Pick<Checkpoint, 'shards'>): Promise<unknown> {
  const [shard] = shards
  if (shard === undefined) return null
  const text = await readFile(join(dirname(shard.path), 'config.json'), 'utf8').catch(() => '')
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

/** The index that a checkpoint was opened by, or null: its label is the index's path then. */
export async function readIndexOf({ label }: { readonly label: string }): Promise<ShardIndex | null> {
  if (!label.endsWith('.json') || !(await stat(label)).isFile()) return null
  return parseShardIndex(await readFile(label))
}
