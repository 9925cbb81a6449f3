import { describe, expect, test } from 'vitest'
import { nearestNames } from '../src/nearest-names.ts'

const NAMES = ['model.layers.0.weight', 'model.layers.1.weight', 'model.layers.10.weight', 'model.norm.bias', 'lm_head']

describe('nearestNames()', () => {
  test('gives at most three, the nearest first', () => {
    expect(nearestNames('model.layers.1.weigth', NAMES)).toEqual([
      'model.layers.1.weight',
      'model.layers.0.weight',
      'model.layers.10.weight',
    ])
  })

  test('gives none when nothing is like the wanted name', () => {
    expect(nearestNames('optimizer_state', NAMES)).toEqual([])
    expect(nearestNames('anything', [])).toEqual([])
  })

  test('understands short names, and gives up on very long ones', () => {
    expect(nearestNames('a', ['b', 'abcdef'])).toEqual(['b'])
    expect(nearestNames('x'.repeat(10_000), ['x'.repeat(9_999)])).toEqual([])
  })
})
