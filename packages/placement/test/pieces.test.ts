import { describe, expect, test } from 'vitest'
import { assignRules, readyRules } from '../src/assign-rules.ts'
import { dealExperts } from '../src/experts.ts'
import { type Cutting, cutTensors } from '../src/pieces.ts'
import type { Companion, Rule } from '../src/policy.ts'
import { thrownBy } from './plans.ts'
import { indexOf, type Listed } from './real-headers.ts'

const size = { pp: 2, tp: 2, ep: 2, replicas: 1 }

function cut(
  listed: readonly Listed[],
  rules: readonly Rule[],
  companions: readonly Companion[] = [],
): readonly Cutting[] {
  const { tensors } = indexOf(listed)
  const assignments = assignRules(tensors, readyRules(rules), companions)
  return cutTensors(tensors, assignments, dealExperts(tensors, assignments, size.ep), size)
}

describe('cutTensors()', () => {
  test('makes a piece for each choice along both axes', () => {
    const split = [
      { dimension: 1, axis: 'tp' },
      { dimension: 0, axis: 'ep' },
    ] as const
    const [cutting] = cut([['w', 'F32', [2, 4]]], [{ match: 'w', split }])
    expect(cutting!.pieces).toEqual([
      {
        ranges: [
          [0, 1],
          [0, 2],
        ],
        ep: [0],
        tp: [0],
        byteLength: 8,
      },
      {
        ranges: [
          [0, 1],
          [2, 4],
        ],
        ep: [0],
        tp: [1],
        byteLength: 8,
      },
      {
        ranges: [
          [1, 2],
          [0, 2],
        ],
        ep: [1],
        tp: [0],
        byteLength: 8,
      },
      {
        ranges: [
          [1, 2],
          [2, 4],
        ],
        ep: [1],
        tp: [1],
        byteLength: 8,
      },
    ])
  })

  test('gives whole tensors to every position, those of an expert to its own', () => {
    const listed: readonly Listed[] = [
      ['w', 'F32', [2]],
      ['e.0', 'F32', [2]],
      ['e.1', 'F32', [2]],
    ]
    const cuttings = cut(listed, [
      { match: 'w', replicate: true },
      { match: 'e.{expert}', expert: 'ep' },
    ])
    expect(cuttings.map(({ pieces }) => pieces)).toEqual([
      [{ ranges: [], ep: null, tp: null, byteLength: 8 }],
      [{ ranges: [], ep: [0], tp: null, byteLength: 8 }],
      [{ ranges: [], ep: [1], tp: null, byteLength: 8 }],
    ])
  })

  test('is the same object for tensors of a kind by a rule, whatever their names', () => {
    const listed: readonly Listed[] = [
      ['a.0', 'F32', [4, 2]],
      ['a.1', 'F32', [4, 2]],
      ['a.2', 'F32', [8, 2]],
      ['a.0_s', 'F32', [2, 1]],
      ['a.1_s', 'F32', [2, 1]],
    ]
    const rules: readonly Rule[] = [{ match: '**', split: { dimension: 0, axis: 'tp' } }]
    const [a, b, c, first, second] = cut(listed, rules, [{ match: '{name}_s', of: '{name}' }])
    expect(b).toBe(a)
    expect(c).not.toBe(a)
    expect(second).toBe(first)
    expect(first!.cuts[0]!.pieces.map(({ extents }) => extents)).toEqual([[[0, 1]], [[1, 2]]])
  })

  test('lets a companion follow to the expert', () => {
    const listed: readonly Listed[] = [
      ['e.0', 'F32', [2]],
      ['e.1', 'F32', [2]],
      ['e.1_s', 'F32', [1]],
    ]
    const cuttings = cut(listed, [{ match: 'e.{expert}', expert: 'ep' }], [{ match: '{name}_s', of: '{name}' }])
    expect(cuttings[2]).toMatchObject({ expertAt: 1, pieces: [{ ranges: [], ep: [1], tp: null }] })
  })

  test('takes companions that come before what they follow', () => {
    const listed: readonly Listed[] = [
      ['s_a', 'F32', [2]],
      ['z_a', 'F32', [4]],
    ]
    const rules: readonly Rule[] = [{ match: '*', split: { dimension: 0, axis: 'tp' } }]
    expect(cut(listed, rules, [{ match: 's_{name}', of: 'z_{name}' }])[0]!.pieces).toHaveLength(2)
  })

  test.each(['F4', 'F6_E2M3'] as const)('cuts %s between bytes only', (dtype) => {
    const rules: readonly Rule[] = [{ match: 'w', split: { dimension: 0, axis: 'tp' } }]
    expect(cut([['w', dtype, [8]]], rules)[0]!.pieces).toHaveLength(2)
    const odd = dtype === 'F4' ? 6 : 4
    const error = thrownBy(() => cut([['w', dtype, [odd]]], rules))
    expect(error).toMatchObject({
      code: 'DIMENSION_NOT_DIVISIBLE',
      tensor: 'w',
      details: { dimension: 0, size: odd, axis: 'tp', count: 2, dtype },
      cause: { code: 'SAFETENSORS_MISALIGNED_SLICE' },
    })
    expect(error.message).toBe(
      `Cannot cut dimension 0 of tensor "w", of size ${odd}, along tp of 2: a piece of ${dtype} would begin or end inside a byte`,
    )
  })
})
