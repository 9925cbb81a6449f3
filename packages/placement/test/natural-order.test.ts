import fc from 'fast-check'
import { expect, test } from 'vitest'
import { compareNatural } from '../src/natural-order.ts'

test('compareNatural() orders digits by value, all else by UTF-8', () => {
  const names = ['layers.10.a', 'layers.9.b', 'layers.9', 'B', 'a', 'layers.009', 'layers.x', 'é', '10', '9']
  expect(names.sort(compareNatural)).toEqual([
    '9',
    '10',
    'B',
    'a',
    'layers.009',
    'layers.9',
    'layers.9.b',
    'layers.10.a',
    'layers.x',
    'é',
  ])
  expect(compareNatural('x99999999999999999999', 'x100000000000000000000')).toBeLessThan(0)
})

test('compareNatural() is one order, in which only equal names are equal', () => {
  const name = fc.string({ unit: fc.constantFrom('0', '1', '9', 'a', '.', 'é'), maxLength: 6 })
  fc.assert(
    fc.property(name, name, name, (a, b, c) => {
      expect(compareNatural(a, b) === 0).toBe(a === b)
      expect(Math.sign(compareNatural(a, b)) + Math.sign(compareNatural(b, a))).toBe(0)
      if (compareNatural(a, b) < 0 && compareNatural(b, c) < 0) expect(compareNatural(a, c)).toBeLessThan(0)
    }),
    { numRuns: 2000 },
  )
})
