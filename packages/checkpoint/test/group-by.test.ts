import { expect, test } from 'vitest'
import { groupBy } from '../src/group-by.ts'

test('groupBy() keeps the order of the items, and that in which the keys first come', () => {
  const groups = groupBy([5, 2, 7, 4, 1], (item) => item % 2 === 0)
  expect([...groups]).toEqual([
    [false, [5, 7, 1]],
    [true, [2, 4]],
  ])
  expect(groupBy([], () => 1).size).toBe(0)
  expect([...groupBy(['a'], () => undefined)]).toEqual([[undefined, ['a']]])
})
