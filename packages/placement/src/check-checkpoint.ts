import { type IndexedShard, quoteName, type TensorIndex } from '@onecopy/safetensors'
import { PlacementError } from './errors.ts'
import { layoutOf } from './layout.ts'
import type { PlanData } from './plan-data.ts'

/** Differences that a message tells; all of them would be no help. */
const MAX_TOLD = 3

/**
 * Checks that a plan is for the checkpoint with this index.
 *
 * @throws PlacementError PLAN_OTHER_CHECKPOINT with both layouts and the first differences
 */
export function checkCheckpoint(data: PlanData, index: TensorIndex): void {
  const layout = layoutOf(index)
  if (layout === data.layout) return
  const differences: string[] = []
  let tensor: string | undefined
  for (const difference of differencesOf(data, index)) {
    differences.push(difference.text)
    tensor ??= difference.tensor
    if (differences.length === MAX_TOLD) break
  }
  const told = differences.length === 0 ? '' : `: ${differences.join('; ')}`
  throw new PlacementError(
    'PLAN_OTHER_CHECKPOINT',
    `The plan is for a checkpoint with layout ${data.layout}, but this one has ${layout}${told}`,
    {
      ...(tensor === undefined ? {} : { tensor }),
      details: { layout: data.layout, actualLayout: layout, differences },
    },
  )
}

interface Difference {
  readonly text: string
  readonly tensor?: string
}

function* differencesOf({ shards, tensors }: PlanData, index: TensorIndex): Generator<Difference, void> {
  const present = new Map(index.tensors.map((tensor) => [tensor.name, tensor]))
  for (const planned of tensors) {
    const { name } = planned
    const actual = present.get(name)
    present.delete(name)
    const [was, is] = [whatIs(planned), actual === undefined ? '' : whatIs(actual)]
    if (actual === undefined) yield { tensor: name, text: `tensor ${quoteName(name)} of the plan is missing` }
    else if (was !== is) yield { tensor: name, text: `tensor ${quoteName(name)} is ${is}, but ${was} in the plan` }
  }
  for (const name of present.keys()) yield { tensor: name, text: `tensor ${quoteName(name)} is not in the plan` }
  yield* shardDifferences(shards, index.shards)
  const actual = new Map(index.tensors.map((tensor) => [tensor.name, tensor]))
  for (const planned of tensors) {
    const { name } = planned
    const [was, is] = [whereIs(planned, shards), whereIs(actual.get(name) ?? planned, index.shards)]
    if (was !== is) yield { tensor: name, text: `tensor ${quoteName(name)} is at ${is}, but at ${was} in the plan` }
  }
}

function* shardDifferences(
  planned: readonly IndexedShard[],
  actual: readonly IndexedShard[],
): Generator<Difference, void> {
  const present = new Map(actual.map(({ name, byteLength }) => [name, byteLength]))
  for (const { name, byteLength } of planned) {
    const bytes = present.get(name)
    present.delete(name)
    if (bytes === undefined) yield { text: `shard ${quoteName(name)} of the plan is missing` }
    else if (bytes !== byteLength) {
      yield { text: `shard ${quoteName(name)} has ${bytes} bytes, but ${byteLength} in the plan` }
    }
  }
  for (const name of present.keys()) yield { text: `shard ${quoteName(name)} is not in the plan` }
}

function whatIs({ dtype, shape }: { readonly dtype: string; readonly shape: readonly number[] }): string {
  return `${dtype} [${shape.join(', ')}]`
}

function whereIs(
  { shard, begin, end }: { readonly shard: number; readonly begin: number; readonly end: number },
  shards: readonly IndexedShard[],
): string {
  return `bytes ${begin} to ${end} of shard ${quoteName(shards[shard]?.name ?? String(shard))}`
}
