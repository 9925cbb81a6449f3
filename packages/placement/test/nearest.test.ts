import { describe, expect, test } from 'vitest'
import { nearest } from '../src/nearest.ts'

describe('nearest()', () => {
  test('gives at most three, the nearest first', () => {
    const known = ['replicates', 'replicate', 'split', 'replica', 'duplicate']
    expect(nearest('replicat', known)).toEqual(['replicate', 'replica', 'replicates'])
  })

  test('gives none when nothing is like the wanted name, or there is nothing', () => {
    expect(nearest('quantization', ['split', 'pin'])).toEqual([])
    expect(nearest('split', [])).toEqual([])
  })

  test('takes any iterable, understands short names, and gives up on very long ones', () => {
    expect(nearest('tp', new Map([['ep', 1]]).keys())).toEqual(['ep'])
    expect(nearest('x'.repeat(10_000), ['x'.repeat(9_999)])).toEqual([])
  })
})
