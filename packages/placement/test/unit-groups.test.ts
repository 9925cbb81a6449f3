import { expect, test } from 'vitest'
import { UnitGroups } from '../src/unit-groups.ts'

const groupsOf = (count: number) => {
  const groups = new UnitGroups((a, b) => new Error(`${a.tensor} in ${a.stages}, ${b.tensor} in ${b.stages}`))
  for (let node = 0; node < count; node++) expect(groups.add()).toBe(node)
  return groups
}

test('UnitGroups merges nodes, and the first stands for the group', () => {
  const groups = groupsOf(5)
  groups.merge(3, 4)
  groups.merge(4, 1)
  groups.merge(1, 3)
  expect([0, 1, 2, 3, 4].map((node) => groups.find(node))).toEqual([0, 1, 2, 1, 1])
})

test('UnitGroups fixes whole groups, before and after they are merged', () => {
  const groups = groupsOf(3)
  groups.fix(2, { stages: [1], tensor: 7 })
  groups.merge(0, 2)
  expect([0, 1, 2].map((node) => groups.fixed(node))).toEqual([[1], null, [1]])
  groups.fix(0, { stages: [1], tensor: 8 })
  groups.merge(1, 0)
  expect(groups.fixed(1)).toEqual([1])
})

test('UnitGroups refuses different stages in a group', () => {
  const groups = groupsOf(2)
  groups.fix(0, { stages: [0], tensor: 7 })
  expect(() => groups.fix(0, { stages: [0, 1], tensor: 8 })).toThrow('7 in 0, 8 in 0,1')
  groups.fix(1, { stages: [2], tensor: 9 })
  expect(() => groups.merge(0, 1)).toThrow('7 in 0, 9 in 2')
})
