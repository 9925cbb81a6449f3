import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Split } from '../src/policy.ts'
import { type Cut, cutShape } from '../src/split.ts'
import { thrownBy } from './plans.ts'
import { positionsOf } from './random-models.ts'

const subject = { tensor: 'w', rule: 'rules[3] "w"', field: 'rules[3]' }
const tp = (count: number) => ({ tp: count, ep: 1 })

function cut(shape: readonly number[], split: Omit<Split, 'axis'>, count: number): readonly Cut[] {
  return cutShape(shape, [{ axis: 'tp', ...split }], tp(count), subject)
}

const extents = (cuts: readonly Cut[]) => cuts[0]!.pieces.map((piece) => [piece.positions, piece.extents])

describe('cutShape()', () => {
  test('cuts a dimension into equal pieces, counting from the end when negative', () => {
    expect(cut([3, 8], { dimension: -1 }, 2)).toEqual([
      {
        dimension: 1,
        axis: 'tp',
        pieces: [
          { positions: [0], extents: [[0, 4]] },
          { positions: [1], extents: [[4, 8]] },
        ],
      },
    ])
  })

  test('cuts packed blocks one by one', () => {
    expect(extents(cut([8], { dimension: 0, blocks: 2 }, 2))).toEqual([
      [
        [0],
        [
          [0, 2],
          [4, 6],
        ],
      ],
      [
        [1],
        [
          [2, 4],
          [6, 8],
        ],
      ],
    ])
    const sizes = cut([10], { dimension: 0, blocks: [6, 4] }, 2)
    expect(extents(sizes)[0]).toEqual([
      [0],
      [
        [0, 3],
        [6, 8],
      ],
    ])
  })

  test('lets nobody share what is not said to stay together, nor inputs', () => {
    expect(thrownBy(() => cut([2], { dimension: 0 }, 4)).code).toBe('DIMENSION_NOT_DIVISIBLE')
    const heads: readonly Split[] = [{ dimension: 1, axis: 'tp', unit: 2 }]
    const of = (tensor: string) => cutShape([8, 4], heads, { tp: 4, ep: 1 }, { tensor, rule: 'r', field: 'f' })
    expect(of('qkv')[0]!.pieces).toHaveLength(2)
    for (const name of ['o_proj.weight', 'o_proj.weight_packed']) {
      expect(thrownBy(() => of(name)).code).toBe('DIMENSION_NOT_DIVISIBLE')
    }
    const rows: readonly Split[] = [{ dimension: 0, axis: 'tp', unit: 4 }]
    const gptq = () => cutShape([8, 4], rows, { tp: 4, ep: 1 }, { tensor: 'o.qweight', rule: 'r', field: 'f' })
    expect(thrownBy(gptq).code).toBe('DIMENSION_NOT_DIVISIBLE')
  })

  test('refuses to cut what is not known to stay together, and says what to give', () => {
    const error = thrownBy(() => cut([8], { dimension: 0, unit: null }, 2))
    expect(error).toMatchObject({ code: 'POLICY_INVALID', field: 'rules[3].split.unit' })
    expect(error.message).toMatch(/PRESETS\.llama\(mesh, checkpoint\.config\), or --config/)
    expect(cut([8], { dimension: 0, unit: null }, 1)).toEqual([])
  })

  test('cuts what has one dimension along it, where that is said', () => {
    expect(extents(cut([8], { dimension: -2, vectors: true }, 2))).toEqual(extents(cut([8], { dimension: 0 }, 2)))
  })

  test('lets neighbours share a unit where there are fewer units than positions', () => {
    expect(extents(cut([6], { dimension: 0, unit: 3 }, 4))).toEqual([
      [[0, 1], [[0, 3]]],
      [[2, 3], [[3, 6]]],
    ])
  })

  test('makes disjoint pieces where only some blocks are shared', () => {
    expect(extents(cut([6], { dimension: 0, unit: 1, blocks: [4, 2] }, 4))).toEqual([
      [[0], [[0, 1]]],
      [[1], [[1, 2]]],
      [[2], [[2, 3]]],
      [[3], [[3, 4]]],
      [[0, 1], [[4, 5]]],
      [[2, 3], [[5, 6]]],
    ])
  })

  test('cuts nothing without dimensions, elements or several positions, or when all positions share all', () => {
    expect(cut([], { dimension: 0 }, 4)).toEqual([])
    expect(cut([0, 3], { dimension: 0 }, 4)).toEqual([])
    expect(cut([4, 0], { dimension: 0 }, 3)).toEqual([])
    expect(cut([7], { dimension: 0 }, 1)).toEqual([])
    expect(cut([5], { dimension: 0, unit: 5 }, 4)).toEqual([])
  })

  test('cuts two dimensions along two axes, outermost first', () => {
    const splits = [
      { dimension: 1, axis: 'tp' },
      { dimension: 0, axis: 'ep' },
    ] as const
    expect(cutShape([4, 6], splits, { tp: 3, ep: 2 }, subject).map(({ dimension, axis }) => [dimension, axis])).toEqual(
      [
        [0, 'ep'],
        [1, 'tp'],
      ],
    )
  })

  test.each([
    [[10], { dimension: 0 }, 4, { dimension: 0, size: 10, axis: 'tp', count: 4, block: 0, blockSize: 10, unit: 1 }],
    [[12], { dimension: 0, unit: 3 }, 3, { dimension: 0, size: 12, axis: 'tp', count: 3, unit: 3 }],
    [[12], { dimension: 0, unit: 8 }, 2, { unit: 8 }],
    [[9], { dimension: 0, blocks: 2 }, 2, { blocks: 2 }],
    [[9], { dimension: 0, blocks: [4, 4] }, 2, { blocks: [4, 4] }],
  ] as const)('refuses %j with %j on %i positions', (shape, split, count, details) => {
    const error = thrownBy(() => cut(shape, split, count))
    expect(error).toMatchObject({ code: 'DIMENSION_NOT_DIVISIBLE', tensor: 'w', field: 'rules[3]', details })
    expect(error.message).toContain(`Cannot cut dimension 0 of tensor "w", of size ${shape[0]}, along tp of ${count}`)
  })

  test('names the block that does not divide', () => {
    const error = thrownBy(() => cut([14], { dimension: 0, blocks: [8, 6] }, 4))
    expect(error.message).toContain('block 1 of 2 with 6 positions in units of 1 must divide into 4 equal parts')
    expect(error.details).toMatchObject({ block: 1, blockSize: 6 })
  })

  test('refuses dimensions that there are not, and one dimension twice, naming rule and tensor', () => {
    const beyond = thrownBy(() => cut([4], { dimension: 1 }, 1))
    expect(beyond).toMatchObject({ code: 'POLICY_INVALID', tensor: 'w', field: 'rules[3]' })
    expect(beyond.message).toBe(
      'rules[3] "w" cuts dimension 1 of tensor "w": it has 1 dimensions, so it must be from -1 to 0',
    )
    expect(thrownBy(() => cut([4, 4], { dimension: -3 }, 2)).code).toBe('POLICY_INVALID')
    const twice = [
      { dimension: 0, axis: 'tp' },
      { dimension: -1, axis: 'ep' },
    ] as const
    expect(thrownBy(() => cutShape([4], twice, { tp: 2, ep: 2 }, subject)).message).toContain('twice')
  })

  test('gives each position what the policy says, element by element, or refuses', () => {
    const blocks = fc.oneof(
      fc.integer({ min: 1, max: 3 }),
      fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 3 }),
    )
    const drawn = fc.record({
      size: fc.integer({ min: 1, max: 24 }),
      blocks,
      unit: fc.integer({ min: 1, max: 4 }),
      count: fc.integer({ min: 2, max: 6 }),
    })
    const outcomes = new Set<string>()
    fc.assert(
      fc.property(drawn, ({ size: free, blocks, unit, count }) => {
        const size = typeof blocks === 'number' ? free : blocks.reduce((sum, block) => sum + block, 0)
        const sizes = typeof blocks === 'number' ? Array.from({ length: blocks }, () => size / blocks) : blocks
        const works = sizes.every((block) => {
          const units = block / unit
          return Number.isInteger(units) && (units % count === 0 || count % units === 0)
        })
        const split: Split = { dimension: 0, axis: 'tp', blocks, unit }
        outcomes.add(works ? 'cut' : 'refused')
        if (!works) {
          expect(thrownBy(() => cut([size], split, count)).code).toBe('DIMENSION_NOT_DIVISIBLE')
          return
        }
        const pieces = cut([size], split, count)[0]?.pieces ?? [
          { positions: Array.from({ length: count }, (_, position) => position), extents: [[0, size] as const] },
        ]
        for (let at = 0; at < size; at++) {
          const holding = pieces.filter((piece) => piece.extents.some(([start, stop]) => at >= start && at < stop))
          expect(holding).toHaveLength(1)
          expect(holding[0]!.positions).toEqual(positionsOf(at, size, split, count))
        }
      }),
      { numRuns: 500 },
    )
    expect(outcomes.size).toBe(2)
  })
})
