import { expect, test } from 'vitest'
import { UnitNodes } from '../src/unit-nodes.ts'

const makeNodes = () => new UnitNodes(() => new Error('conflict'), false)

test('UnitNodes has one node for each layer of a stack and each free tensor', () => {
  const nodes = makeNodes()
  const first = nodes.add({ name: 'a.', layer: 1 }, 0)
  expect(nodes.add({ name: 'a.', layer: 1 }, 3)).toBe(first)
  const others = [
    nodes.add({ name: 'a.', layer: 2 }, 0),
    nodes.add({ name: 'b.', layer: 1 }, 0),
    nodes.add({ name: 'a.', layer: null }, 0),
  ]
  expect(new Set([first, ...others]).size).toBe(4)
  expect(
    nodes.known([
      { name: 'b.', layer: 1 },
      { name: 'gone', layer: null },
      { name: 'a.', layer: 1 },
    ]),
  ).toEqual([others[1], first])
})

test('UnitNodes puts them in order by the first rule that speaks of their name, then by name and number', () => {
  const nodes = makeNodes()
  const keys = [
    [{ name: 'z', layer: null }, 1],
    [{ name: 'b.', layer: 10 }, 2],
    [{ name: 'b.', layer: 9 }, 0],
    [{ name: 'a.', layer: 3 }, 1],
  ] as const
  for (const [key, rule] of keys) nodes.add(key, rule)
  expect(nodes.inOrder().map(([, { name, layer }]) => [name, layer])).toEqual([
    ['b.', 9],
    ['b.', 10],
    ['a.', 3],
    ['z', null],
  ])
})
