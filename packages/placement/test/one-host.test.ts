import { expect, test } from 'vitest'
import { oneHost } from '../src/one-host.ts'
import { readTopology } from '../src/read-topology.ts'

test('oneHost() names workers in order, and is a topology', () => {
  const topology = oneHost(3)
  expect(topology).toEqual({
    hosts: [{ name: 'localhost' }],
    workers: ['w0', 'w1', 'w2'].map((name) => ({ name, host: 'localhost' })),
  })
  expect(readTopology(topology)).toEqual(topology)
})

test('oneHost() takes a name and the memory of the host', () => {
  const { hosts, workers } = oneHost(1, { host: 'node-7', memoryBytes: 10 })
  expect(hosts).toEqual([{ name: 'node-7', memoryBytes: 10 }])
  expect(workers).toEqual([{ name: 'w0', host: 'node-7' }])
})

test('oneHost() refuses counts that are no integers from 1 to 65,536', () => {
  for (const count of [0, -1, 1.5, Number.NaN, 65_537, 2 ** 60]) {
    expect(() => oneHost(count)).toThrow(expect.objectContaining({ code: 'TOPOLOGY_INVALID', field: 'workers' }))
  }
})
