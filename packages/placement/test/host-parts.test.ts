import { expect, test } from 'vitest'
import { partsByHost } from '../src/host-parts.ts'

const hosts = [{ name: 'a' }, { name: 'b' }, { name: 'c' }]
const workers = ['a', 'a', 'b', 'c', 'c'].map((host) => ({ host }))

test('partsByHost() gives each part once for a host, however many of its workers have it', () => {
  const [left, right] = [[[0, 2]], [[2, 4]]] as const
  const byHost = partsByHost(hosts, workers)
  const parts = [
    { ranges: left, workers: [0, 1, 2] },
    { ranges: right, workers: [1, 2] },
  ]
  const found = byHost(parts)
  expect([...found]).toEqual([
    [0, [left, right]],
    [1, [left, right]],
  ])
  expect(found.get(0)).toBe(found.get(1))
  expect(byHost(parts)).toBe(found)
  expect(byHost([...parts])).toEqual(found)
})
