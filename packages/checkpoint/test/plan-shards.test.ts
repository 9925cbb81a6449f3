import { describe, expect, test } from 'vitest'
import { planShards } from '../src/plan-shards.ts'
import { refusal } from './support.ts'

const NAMING = { stem: 'model', variant: null }

function plan(sizes: Readonly<Record<string, number>>, limit: number) {
  const tensors = Object.entries(sizes).map(([name, size]) => ({ name, dtype: 'U8' as const, shape: [size] }))
  return planShards(tensors, limit, NAMING).map(({ fileName, tensors: own }) => [
    fileName,
    own.map(({ name }) => name).join(''),
  ])
}

describe('planShards()', () => {
  test('puts everything into one file where it fits exactly', () => {
    expect(plan({ a: 4, b: 6 }, 10)).toEqual([['model.safetensors', 'ab']])
  })

  test('fills each shard until the next tensor would exceed the limit, and never goes back', () => {
    expect(plan({ a: 6, b: 6, c: 2, d: 6, e: 2, f: 2 }, 10)).toEqual([
      ['model-00001-of-00003.safetensors', 'a'],
      ['model-00002-of-00003.safetensors', 'bc'],
      ['model-00003-of-00003.safetensors', 'def'],
    ])
  })

  test('gives a tensor larger than the limit its own shard, before the one that is being filled', () => {
    // As split_state_dict_into_shards_factory of huggingface_hub 2.0 does.
    expect(plan({ a: 2, big: 11, b: 2, large: 20, c: 7 }, 10)).toEqual([
      ['model-00001-of-00004.safetensors', 'big'],
      ['model-00002-of-00004.safetensors', 'large'],
      ['model-00003-of-00004.safetensors', 'ab'],
      ['model-00004-of-00004.safetensors', 'c'],
    ])
    expect(plan({ big: 11 }, 10)).toEqual([['model.safetensors', 'big']])
  })

  test('keeps tensors without bytes, and a checkpoint without tensors', () => {
    expect(plan({ a: 10, none: 0, b: 1 }, 10)).toEqual([
      ['model-00001-of-00002.safetensors', 'anone'],
      ['model-00002-of-00002.safetensors', 'b'],
    ])
    expect(plan({}, 10)).toEqual([['model.safetensors', '']])
  })

  test.each([0, -1, Number.NaN])('refuses the limit %d', async (limit) => {
    expect(await refusal(() => plan({ a: 1 }, limit))).toBeInstanceOf(RangeError)
  })

  test('refuses a name given twice, a shape that is none, and a stem that leaves the folder', async () => {
    const a = { name: 'a', dtype: 'F32', shape: [1] } as const
    const twice = await refusal(() => planShards([a, a], 10, NAMING))
    expect(twice).toMatchObject({ code: 'SAVE_INVALID', tensor: 'a' })
    const shape = await refusal(() => planShards([{ ...a, shape: [-1] }], 10, NAMING))
    expect(shape).toMatchObject({ code: 'SAFETENSORS_TENSOR_INVALID_INFO', tensor: 'a' })
    for (const naming of [
      { stem: '../x', variant: null },
      { stem: 'model', variant: 'a/b' },
    ]) {
      const error = await refusal(() => planShards([a], 10, naming))
      expect(error.code).toBe('SAFETENSORS_UNSAFE_SHARD_NAME')
    }
  })
})
