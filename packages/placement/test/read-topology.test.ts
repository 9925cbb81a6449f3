import { describe, expect, test } from 'vitest'
import { readTopology } from '../src/read-topology.ts'
import type { Topology } from '../src/topology.ts'

const FULL: Topology = {
  hosts: [
    {
      name: 'a',
      memoryBytes: 1000,
      numaNodes: [{ memoryBytes: 400 }, {}],
      holds: [
        { name: 't' },
        {
          name: 't',
          ranges: [
            [0, 2],
            [
              [0, 1],
              [3, 4],
            ],
          ],
        },
      ],
    },
    { name: 'b' },
  ],
  workers: [
    { name: 'w0', host: 'a', memoryBytes: 5, weight: 0.5, numaNode: 1 },
    { name: 'w1', host: 'b', numaNode: 0 },
  ],
}
const refused = (topology: unknown, field: string, message: RegExp) => {
  expect(() => readTopology(topology)).toThrow(expect.objectContaining({ code: 'TOPOLOGY_INVALID', field }))
  expect(() => readTopology(topology)).toThrow(message)
}
const worker = (fields: object) => ({
  hosts: [{ name: 'a', numaNodes: [{}, {}] }],
  workers: [{ name: 'w', host: 'a', ...fields }],
})
const host = (fields: object) => ({ hosts: [{ name: 'a', ...fields }], workers: [{ name: 'w', host: 'a' }] })

describe('readTopology()', () => {
  test('gives back a topology with everything in it, from JSON too', () => {
    expect(readTopology(FULL)).toEqual(FULL)
    expect(readTopology(JSON.parse(JSON.stringify(FULL)))).toEqual(FULL)
  })

  test('wants at least one host and one worker', () => {
    refused({ hosts: [], workers: [] }, 'hosts', /at least 1/)
    refused({ hosts: [{ name: 'a' }], workers: [] }, 'workers', /at least 1/)
    refused({ hosts: [{ name: 'a' }], worker: [] }, 'worker', /nearest: "workers"/)
  })

  test('refuses a host that there is not, with the nearest', () => {
    const topology = { hosts: [{ name: 'node-1' }, { name: 'node-2' }], workers: [{ name: 'w', host: 'nod-2' }] }
    expect(() => readTopology(topology)).toThrow(
      expect.objectContaining({
        code: 'HOST_UNKNOWN',
        field: 'workers[0].host',
        worker: 'w',
        host: 'nod-2',
        candidates: ['node-2', 'node-1'],
        message: 'Worker "w" is on host "nod-2", but there is no such host; nearest: "node-2", "node-1"',
      }),
    )
  })

  test('refuses two of one name', () => {
    const twins = [
      { name: 'w', host: 'a' },
      { name: 'w', host: 'a' },
    ]
    refused({ hosts: [{ name: 'a' }], workers: twins }, 'workers[1].name', /another name than that of workers\[0\]/)
    refused(
      { hosts: [{ name: 'a' }, { name: 'a' }], workers: twins },
      'hosts[1].name',
      /another name than that of hosts\[0\]/,
    )
  })

  test('wants bytes that are positive integers, and weights above 0', () => {
    for (const memoryBytes of [0, -1, 1.5, 2 ** 53, '5', null]) {
      refused(worker({ memoryBytes }), 'workers[0].memoryBytes', /positive integer/)
      refused(host({ memoryBytes }), 'hosts[0].memoryBytes', /positive integer/)
      refused(host({ numaNodes: [{ memoryBytes }] }), 'hosts[0].numaNodes[0].memoryBytes', /positive integer/)
    }
    for (const weight of [0, -1, Number.POSITIVE_INFINITY, Number.NaN, '1']) {
      refused(worker({ weight }), 'workers[0].weight', /a positive number/)
    }
  })

  test('wants a NUMA node that the host has', () => {
    expect(readTopology(worker({ numaNode: 1 })).workers[0]!.numaNode).toBe(1)
    refused(worker({ numaNode: 2 }), 'workers[0].numaNode', /from 0 to 1/)
    refused(host({ numaNodes: [] }), 'hosts[0].numaNodes', /at least 1/)
    const without = { hosts: [{ name: 'a' }], workers: [{ name: 'w', host: 'a', numaNode: 1 }] }
    refused(without, 'workers[0].numaNode', /from 0 to 0/)
  })

  test('wants held ranges that are in order and do not touch', () => {
    const holds = (ranges: unknown) => host({ holds: [{ name: 't', ranges }] })
    refused(holds([[2, 1]]), 'hosts[0].holds[0].ranges[0][1]', /at least 2/)
    refused(holds([[0, 1, 2]]), 'hosts[0].holds[0].ranges[0]', /\[start, stop\]/)
    refused(holds([[[0, 1]]]), 'hosts[0].holds[0].ranges[0]', /or several such/)
    refused(
      holds([
        [
          [0, 1],
          [1, 2],
        ],
      ]),
      'hosts[0].holds[0].ranges[0][1]',
      /with a gap/,
    )
    refused(
      holds([
        [
          [0, 1],
          [2, 2],
        ],
      ]),
      'hosts[0].holds[0].ranges[0][1]',
      /not empty/,
    )
    refused(holds([0]), 'hosts[0].holds[0].ranges[0]', /an array/)
    refused(host({ holds: [{ nam: 't' }] }), 'hosts[0].holds[0].nam', /nearest: "name"/)
  })
})
