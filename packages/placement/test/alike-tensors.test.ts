import { describe, expect, test } from 'vitest'
import { alikeTensors } from '../src/alike-tensors.ts'
import { bodyOf } from './plans.ts'

describe('alikeTensors()', () => {
  test('counts tensors with the very same parts, dtype and shape together, and no others', () => {
    const parts = [{ ranges: [], workers: [0] }]
    const sketches = [
      { name: 'a', dtype: 'F32', shape: [2, 3], parts },
      { name: 'b', dtype: 'F32', shape: [2, 3], parts },
      { name: 'c', dtype: 'F32', shape: [3, 2], parts },
      { name: 'd', dtype: 'BF16', shape: [2, 3], parts },
      { name: 'e', dtype: 'F32', shape: [2, 3], parts: [...parts] },
    ] as const
    const alike = alikeTensors(bodyOf(sketches).tensors)
    expect(alike.map(({ tensor, count }) => [tensor.name, count])).toEqual([
      ['a', 2],
      ['c', 1],
      ['d', 1],
      ['e', 1],
    ])
  })
})
