import type { Dtype, Extent } from '@onecopy/safetensors'
import { describe, expect, test } from 'vitest'
import { cutCompanion, scaleOf } from '../src/companion.ts'
import type { Companion } from '../src/policy.ts'
import { type Cut, cutShape } from '../src/split.ts'
import { thrownBy } from './plans.ts'

const shaped = (name: string, shape: readonly number[], dtype: Dtype = 'BF16') => ({ name, dtype, shape })

function cutsOf(
  shape: readonly number[],
  dimension: number,
  count: number,
  blocks: number | number[] = 1,
): readonly Cut[] {
  const subject = { tensor: 'w', rule: 'rules[0] "w"', field: 'rules[0]' }
  return cutShape(shape, [{ dimension, axis: 'tp', blocks }], { tp: count, ep: 1 }, subject)
}

function follow(
  owner: readonly number[],
  companion: readonly number[],
  [dimension, count, blocks = 1]: readonly [number, number, (number | number[])?],
  by: Pick<Companion, 'block' | 'along'> = {},
): readonly [dimension: number, extents: readonly (readonly Extent[])[]] | null {
  const cuts = cutsOf(owner, dimension, count, blocks)
  const made = cutCompanion(shaped('s', companion), shaped('w', owner), cuts, by)
  return made.length === 0 ? null : [made[0]!.dimension, made[0]!.pieces.map(({ extents }) => extents)]
}

describe('cutCompanion()', () => {
  test('cuts block scales in proportion', () => {
    expect(follow([2048, 7168], [16, 56], [0, 4])).toEqual([0, [[[0, 4]], [[4, 8]], [[8, 12]], [[12, 16]]]])
    expect(follow([2048, 7168], [16, 56], [1, 2])).toEqual([1, [[[0, 28]], [[28, 56]]]])
  })

  test('lets the last block be incomplete', () => {
    expect(follow([576, 8], [5, 1], [0, 1])).toBeNull()
    const cuts: readonly Cut[] = [
      {
        dimension: 0,
        axis: 'tp',
        pieces: [
          { positions: [0], extents: [[0, 512]] },
          { positions: [1], extents: [[512, 576]] },
        ],
      },
    ]
    const made = cutCompanion(shaped('s', [5, 1]), shaped('w', [576, 8]), cuts)
    expect(made[0]!.pieces.map(({ extents }) => extents)).toEqual([[[0, 4]], [[4, 5]]])
  })

  test('maps packed blocks one by one', () => {
    expect(follow([512, 64], [4, 1], [0, 2, 2])).toEqual([
      0,
      [
        [
          [0, 1],
          [2, 3],
        ],
        [
          [1, 2],
          [3, 4],
        ],
      ],
    ])
  })

  test('follows along the right dimension of GPTQ', () => {
    const along = [0]
    // qweight [inputs / 8, outputs], cut along inputs: g_idx has a number for each of them, scales one for each 128.
    expect(follow([512, 4096], [4096], [0, 2], { along })).toEqual([0, [[[0, 2048]], [[2048, 4096]]]])
    expect(follow([512, 4096], [32, 4096], [0, 2])).toEqual([0, [[[0, 16]], [[16, 32]]]])
    // Cut along outputs: g_idx stays whole, eight zero points are one integer.
    expect(follow([512, 4096], [4096], [1, 2], { along })).toBeNull()
    expect(follow([512, 4096], [32, 512], [1, 2])).toEqual([1, [[[0, 256]], [[256, 512]]]])
  })

  test('leaves whole what is said to follow nothing', () => {
    expect(follow([512, 4096], [32, 4096], [0, 2], { along: [null, 1] })).toBeNull()
    expect(follow([512, 4096], [32, 4096], [1, 2], { along: [null, 1] })).toEqual([1, [[[0, 2048]], [[2048, 4096]]]])
    expect(thrownBy(() => follow([8, 8], [8], [0, 2], { along: [0, 1] })).code).toBe('COMPANION_UNFIT')
  })

  test('scales up where the companion is longer', () => {
    // AWQ: qweight [inputs, outputs / 8], scales [inputs / 128, outputs].
    expect(follow([4096, 128], [32, 1024], [1, 2])).toEqual([1, [[[0, 512]], [[512, 1024]]]])
  })

  test('leaves whole what has one element, or one position in the dimension, or not that dimension', () => {
    expect(follow([8, 8], [], [0, 2])).toBeNull()
    expect(follow([8, 8], [1], [0, 2])).toBeNull()
    expect(follow([8, 8], [1, 8], [0, 2])).toBeNull()
    expect(follow([8, 6], [8], [1, 2])).toBeNull()
    expect(follow([8, 6], [8, 1], [0, 2])).toEqual([0, [[[0, 4]], [[4, 8]]]])
    expect(cutCompanion(shaped('s', [3]), shaped('w', [8, 8]), [])).toEqual([])
  })

  test('refuses a piece that begins inside a block, naming both tensors, sizes, block and piece', () => {
    const error = thrownBy(() => follow([512, 8], [4, 8], [0, 8]))
    expect(error).toMatchObject({
      code: 'COMPANION_UNFIT',
      tensor: 's',
      details: { owner: 'w', ownerSize: 512, size: 4, block: 128, extent: [0, 64] },
    })
    expect(error.message).toBe(
      'Tensor "s" cannot follow "w": piece [0,64] of dimension 0, of size 512, must begin and end between blocks of 128',
    )
  })

  test('refuses sizes in no proportion, and shapes without a relation', () => {
    expect(thrownBy(() => follow([8, 8], [5, 8], [0, 2])).message).toContain('no whole proportion to 8')
    expect(thrownBy(() => follow([8, 6], [5], [0, 2])).message).toContain('its shape [5] has no relation to [8,6]')
    expect(thrownBy(() => follow([8, 6], [4, 6], [0, 2], { block: [3, 1] })).code).toBe('COMPANION_UNFIT')
  })

  test('takes the block that is given', () => {
    expect(follow([192, 4], [2, 4], [0, 2], { block: [96, 1] })).toEqual([0, [[[0, 1]], [[1, 2]]]])
    expect(thrownBy(() => follow([192, 4], [2, 4], [0, 2])).message).toContain('blocks of 128')
  })
})

test.each([
  [2048, 16, { block: 128, factor: 1 }],
  [576, 5, { block: 128, factor: 1 }],
  [3072, 32, { block: 96, factor: 1 }],
  [8, 8, { block: 1, factor: 1 }],
  [8, 64, { block: 1, factor: 8 }],
  [8, 12, null],
  [10, 4, null],
])('scaleOf(%i, %i)', (ownerSize, size, scale) => {
  expect(scaleOf(ownerSize, size)).toEqual(scale)
})
