import { describe, expect, test } from 'vitest'
import { Mesh, meshSize, placeIn, plannedHosts } from '../src/mesh.ts'
import { thrownBy } from './plans.ts'
import { topologyFor } from './random-models.ts'

const size = { pp: 2, tp: 2, ep: 3, replicas: 2 }

test('meshSize() fills in ones', () => {
  expect(meshSize()).toEqual({ pp: 1, tp: 1, ep: 1, replicas: 1 })
  expect(meshSize({ ep: 3 })).toEqual({ pp: 1, tp: 1, ep: 3, replicas: 1 })
})

test('plannedHosts() fills in one NUMA node, and null for no limit', () => {
  const hosts = [{ name: 'a' }, { name: 'b', memoryBytes: 9, numaNodes: [{}, { memoryBytes: 4 }] }]
  expect(plannedHosts({ hosts, workers: [] })).toEqual([
    { name: 'a', memoryBytes: null, numaNodes: [{ memoryBytes: null }] },
    { name: 'b', memoryBytes: 9, numaNodes: [{ memoryBytes: null }, { memoryBytes: 4 }] },
  ])
})

test('placeIn() counts tp fastest, then ep, pp and replicas', () => {
  const first = [
    placeIn(size, 0, 0, 0, 1),
    placeIn(size, 0, 0, 1, 0),
    placeIn(size, 0, 1, 0, 0),
    placeIn(size, 1, 0, 0, 0),
  ]
  expect(first).toEqual([1, 2, 6, 12])
  expect(placeIn(size, 1, 1, 2, 1)).toBe(23)
})

describe('Mesh', () => {
  test('gives workers places row by row, replicas outermost, tp innermost', () => {
    const { workers } = new Mesh(size, topologyFor(size))
    const place = (at: number) => [workers[at]!.replica, workers[at]!.pp, workers[at]!.ep, workers[at]!.tp]
    expect([0, 1, 2, 6, 12, 23].map(place)).toEqual([
      [0, 0, 0, 0],
      [0, 0, 0, 1],
      [0, 0, 1, 0],
      [0, 1, 0, 0],
      [1, 0, 0, 0],
      [1, 1, 2, 1],
    ])
  })

  test('holders() are those of all replicas, rising, and the same object each time', () => {
    const mesh = new Mesh(size, topologyFor(size))
    expect(mesh.holders([1], [2], null)).toEqual([10, 11, 22, 23])
    expect(mesh.holders([0], null, [1])).toEqual([1, 3, 5, 13, 15, 17])
    expect(mesh.holders([0, 1], [0], [0])).toEqual([0, 6, 12, 18])
    expect(mesh.holders([1], [2], null)).toBe(mesh.holders([1], [2], null))
  })

  test('takes another order of workers, and keeps them in the order of the topology', () => {
    const small = { pp: 3, tp: 1, ep: 1, replicas: 1 }
    const mesh = new Mesh(small, topologyFor(small), [2, 0, 1])
    expect(mesh.workers.map(({ name, pp }) => [name, pp])).toEqual([
      ['w0', 1],
      ['w1', 2],
      ['w2', 0],
    ])
    expect(mesh.holders([0], null, null)).toEqual([2])
  })

  test('refuses another number of workers than places', () => {
    const error = thrownBy(() => new Mesh(size, topologyFor({ ...size, tp: 1 })))
    expect(error).toMatchObject({ code: 'MESH_MISMATCH', details: { ...size, places: 24, workers: 12 } })
    expect(error.message).toBe(
      'The mesh has 24 places (pp 2 × tp 2 × ep 3 × replicas 2), but the topology has 12 workers',
    )
  })

  test('deals workers over NUMA nodes in equal runs unless they name one', () => {
    const topology = {
      hosts: [{ name: 'a', numaNodes: [{}, {}] }, { name: 'b' }],
      workers: ['a', 'b', 'a', 'a', 'a'].map((host, at) => ({ name: `w${at}`, host })),
    }
    const mesh = { pp: 5, tp: 1, ep: 1, replicas: 1 }
    const nodes = (list: typeof topology) => new Mesh(mesh, list).workers.map(({ numaNode }) => numaNode)
    expect(nodes(topology)).toEqual([0, 0, 0, 1, 1])
    const named = topology.workers.map((worker, at) => (at === 0 ? { ...worker, numaNode: 1 } : worker))
    expect(nodes({ ...topology, workers: named })).toEqual([1, 0, 0, 1, 1])
  })
})
