import { type IndexedTensor, type TensorIndex, tensorIndex } from '@onecopy/safetensors'
import { describe, expect, test } from 'vitest'
import { checkCheckpoint } from '../src/check-checkpoint.ts'
import { layoutOf } from '../src/layout.ts'
import { totalsOf } from '../src/totals.ts'
import { smallBody, thrownBy } from './plans.ts'

const body = smallBody()
const data = { format: 'onecopy-plan', version: 1, ...body, totals: totalsOf(body) } as const
const index = tensorIndex(body.shards, body.tensors)

function withTensors(change: (tensor: IndexedTensor) => IndexedTensor | undefined): TensorIndex {
  return { ...index, tensors: index.tensors.flatMap((tensor) => change(tensor) ?? []) }
}

describe('checkCheckpoint()', () => {
  test('accepts the index of the checkpoint', () => {
    expect(() => checkCheckpoint(data, index)).not.toThrow()
  })

  test.each<[string, TensorIndex, string, string | undefined]>([
    [
      'a missing tensor',
      withTensors((tensor) => (tensor.name === 'norm' ? undefined : tensor)),
      'tensor "norm" of the plan is missing',
      'norm',
    ],
    [
      'another shape',
      withTensors((tensor) => (tensor.name === 'rows' ? { ...tensor, shape: [6, 4] } : tensor)),
      'tensor "rows" is F32 [6, 4], but F32 [4, 6] in the plan',
      'rows',
    ],
    [
      'another type',
      withTensors((tensor) => (tensor.name === 'norm' ? { ...tensor, dtype: 'BF16' } : tensor)),
      'tensor "norm" is BF16 [6], but F16 [6] in the plan',
      'norm',
    ],
    [
      'a further tensor',
      { ...index, tensors: [...index.tensors, { ...index.tensors[0]!, name: 'new' }] },
      'tensor "new" is not in the plan',
      'new',
    ],
    [
      'another place',
      withTensors((tensor) => (tensor.name === 'norm' ? { ...tensor, begin: 9, end: 21 } : tensor)),
      'tensor "norm" is at bytes 9 to 21 of shard "model-1.safetensors", but at bytes 8 to 20 of shard "model-1.safetensors" in the plan',
      'norm',
    ],
    [
      'another shard length',
      { ...index, shards: [index.shards[0]!, { name: 'model-1.safetensors', byteLength: 99 }] },
      'shard "model-1.safetensors" has 99 bytes, but 20 in the plan',
      undefined,
    ],
    [
      'a further shard',
      { ...index, shards: [...index.shards, { name: 'z.safetensors', byteLength: 8 }] },
      'shard "z.safetensors" is not in the plan',
      undefined,
    ],
  ])('refuses a checkpoint with %s', (_, other, told, tensor) => {
    const error = thrownBy(() => checkCheckpoint(data, other))
    expect(error).toMatchObject({ code: 'PLAN_OTHER_CHECKPOINT', tensor })
    expect(error.message).toBe(
      `The plan is for a checkpoint with layout ${body.layout}, but this one has ${layoutOf(other)}: ${told}`,
    )
    expect(error.details).toEqual({ layout: body.layout, actualLayout: layoutOf(other), differences: [told] })
  })

  test('tells three differences at most', () => {
    const error = thrownBy(() => checkCheckpoint(data, { shards: [], tensors: [] }))
    expect(error.details?.['differences']).toEqual([
      'tensor "rows" of the plan is missing',
      'tensor "columns" of the plan is missing',
      'tensor "norm" of the plan is missing',
    ])
    expect(error.tensor).toBe('rows')
  })
})
