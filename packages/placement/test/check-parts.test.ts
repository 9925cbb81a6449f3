import type { Dtype, SelectedRange } from '@onecopy/safetensors'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkParts } from '../src/check-parts.ts'
import type { Part } from '../src/plan-data.ts'
import { bodyOf, elementsOf, selectionsArbitrary, thrownBy } from './plans.ts'

function check(dtype: Dtype, shape: readonly number[], parts: readonly Part[]): void {
  const whole = [{ ranges: [], workers: [0] }]
  const body = bodyOf([
    { name: 'other', dtype: 'U8', shape: [4], parts: whole },
    { name: 'x', dtype, shape, parts },
  ])
  checkParts(body, body.tensors[1]!)
}

const left: SelectedRange[] = [
  [0, 4],
  [0, 3],
]
const right: SelectedRange[] = [
  [0, 4],
  [3, 6],
]

describe('checkParts()', () => {
  test('finds overlaps and gaps as a count element by element does', () => {
    const seen = new Set<string>()
    fc.assert(
      fc.property(selectionsArbitrary, ({ shape, list }) => {
        const all = list.flatMap((ranges) => elementsOf(shape, ranges))
        const distinct = new Set(all)
        const total = elementsOf(shape, []).length
        const expected =
          distinct.size < all.length ? 'PLAN_OVERLAP' : distinct.size < total ? 'PLAN_INCOMPLETE' : 'nothing'
        let found = 'nothing'
        try {
          // Each worker has one part at most, so that nothing has to be joined.
          const workers = list.map((_, at) => at)
          const parts = list.map((ranges, at) => ({ ranges, workers: [at] }))
          const body = bodyOf([{ name: 'x', dtype: 'U8', shape, parts }])
          checkParts({ tensors: body.tensors, workers: workers.map(() => body.workers[0]!) }, body.tensors[0]!)
        } catch (error) {
          found = (error as { code: string }).code
        }
        expect(found).toBe(expected)
        seen.add(found)
      }),
      { numRuns: 2000, seed: 3 },
    )
    expect([...seen].sort()).toEqual(['PLAN_INCOMPLETE', 'PLAN_OVERLAP', 'nothing'])
  })

  test('names the tensor, both ranges, their workers and the element of an overlap', () => {
    const parts = [
      { ranges: left, workers: [0] },
      { ranges: [[2, 4]], workers: [0, 1] },
    ] as const
    expect(thrownBy(() => check('F32', [4, 6], parts))).toMatchObject({
      code: 'PLAN_OVERLAP',
      message:
        'Tensor "x" has parts that overlap: [:, 0:3] of "w0" and [2:4, :] of "w0", "w1" both have element [2, 0]',
      tensor: 'x',
      field: 'tensors[1].parts',
      details: { first: 0, second: 1, element: [2, 0] },
    })
  })

  test('names the tensor and an element that no part has', () => {
    expect(thrownBy(() => check('F32', [4, 6], [{ ranges: left, workers: [0] }]))).toMatchObject({
      code: 'PLAN_INCOMPLETE',
      message: 'Tensor "x" has no part with element [0, 3]',
      tensor: 'x',
      details: { element: [0, 3] },
    })
  })

  test('refuses a tensor without parts, though it have no elements', () => {
    expect(thrownBy(() => check('F32', [0], [])).code).toBe('PLAN_INCOMPLETE')
    expect(() => check('F32', [0], [{ ranges: [[0, 0]], workers: [1] }])).not.toThrow()
  })

  test.each<[string, readonly SelectedRange[], string, string]>([
    [
      'more ranges than dimensions',
      [
        [0, 4],
        [0, 6],
        [0, 1],
      ],
      'tensors[1].parts[0].ranges',
      '3 ranges, but 2 dimensions',
    ],
    [
      'a range beyond the dimension',
      [
        [0, 4],
        [0, 7],
      ],
      'tensors[1].parts[0].ranges[1]',
      '0 to 7 in dimension 1',
    ],
    [
      'one of several extents beyond it',
      [
        [
          [0, 1],
          [3, 5],
        ],
      ],
      'tensors[1].parts[0].ranges[0]',
      '3 to 5 in dimension 0, which has size 4',
    ],
  ])('refuses a part with %s', (_, ranges, field, told) => {
    const error = thrownBy(() => check('F32', [4, 6], [{ ranges, workers: [0] }]))
    expect(error).toMatchObject({ code: 'PLAN_INVALID', tensor: 'x', field })
    expect(error.message).toContain(told)
  })

  test('refuses a part that cuts a byte, with the cause', () => {
    const parts = [
      { ranges: [[0, 3]], workers: [0] },
      { ranges: [[3, 8]], workers: [1] },
    ] as const
    const error = thrownBy(() => check('F4', [8], parts))
    expect(error).toMatchObject({ code: 'PLAN_INVALID', tensor: 'x', field: 'tensors[1].parts[0].ranges' })
    expect(error.cause).toMatchObject({ code: 'SAFETENSORS_MISALIGNED_SLICE' })
  })

  test('refuses a worker that there is not, and a part on none', () => {
    const on = (workers: readonly number[]) => thrownBy(() => check('F32', [4], [{ ranges: [], workers }]))
    expect(on([0, 2])).toMatchObject({ code: 'PLAN_INVALID', field: 'tensors[1].parts[0].workers' })
    expect(on([]).message).toBe('Tensor "x" has a part on no worker')
  })

  test('lets a worker hold several parts that are one selection, and no others', () => {
    const joined = [
      { ranges: left, workers: [0, 1] },
      { ranges: right, workers: [0] },
    ]
    expect(() => check('F32', [4, 6], joined)).not.toThrow()
    const corners: Part[] = [
      {
        ranges: [
          [0, 2],
          [0, 3],
        ],
        workers: [0],
      },
      {
        ranges: [
          [0, 2],
          [3, 6],
        ],
        workers: [1],
      },
      {
        ranges: [
          [2, 4],
          [0, 3],
        ],
        workers: [1],
      },
      {
        ranges: [
          [2, 4],
          [3, 6],
        ],
        workers: [0],
      },
    ]
    const error = thrownBy(() => check('F32', [4, 6], corners))
    expect(error).toMatchObject({ code: 'PLAN_INVALID', tensor: 'x', worker: 'w0' })
    expect(error.message).toContain('[0:2, 0:3] and [2:4, 3:6]')
  })
})
