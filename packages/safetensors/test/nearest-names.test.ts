import { describe, expect, test } from 'vitest'
import { nearestNames } from '../src/nearest-names.ts'

/** Places at which two names differ: simple, and never less than the difference in length. */
function differences(a: string, b: string): number {
  let count = Math.abs(a.length - b.length)
  for (let at = 0; at < Math.min(a.length, b.length); at++) if (a[at] !== b[at]) count++
  return count
}

describe('nearestNames()', () => {
  test('gives at most three, the nearest first, and of equally near ones those that are known first', () => {
    const known = ['norm.3', 'norm.12', 'norm.2', 'norm.1', 'lm_head']
    expect(nearestNames('norm.1', known, differences)).toEqual(['norm.1', 'norm.3', 'norm.12'])
  })

  test('gives none beyond half of the name, or beyond two changes of a short one', () => {
    expect(nearestNames('abcdef', ['abcxyz', 'abwxyz'], differences)).toEqual(['abcxyz'])
    expect(nearestNames('a', ['b', 'xy', 'xyz'], differences)).toEqual(['b', 'xy'])
    expect(nearestNames('anything', [], differences)).toEqual([])
  })

  test('takes any iterable, and measures only names of about the same length', () => {
    const measured: string[] = []
    const distance = (a: string, b: string) => {
      measured.push(b)
      return differences(a, b)
    }
    expect(nearestNames('tp', new Set(['ep', 'replicas']), distance)).toEqual(['ep'])
    expect(measured).toEqual(['ep'])
  })

  test('gives up on very long names, and looks at no more than 100,000', () => {
    const unreachable = () => {
      throw new Error('measured')
    }
    expect(nearestNames('x'.repeat(257), ['x'.repeat(257)], unreachable)).toEqual([])
    let given = 0
    function* endless() {
      for (;;) yield `${given++}`.padStart(20, '_')
    }
    expect(nearestNames('name', endless(), unreachable)).toEqual([])
    expect(given).toBe(100_001)
  })
})
