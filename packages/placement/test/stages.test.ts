import { describe, expect, test } from 'vitest'
import { Loads } from '../src/loads.ts'
import { Mesh } from '../src/mesh.ts'
import { stagesByLayers, stagesByObjective, stagesThatMoveLeast } from '../src/stages.ts'
import type { Topology, Worker } from '../src/topology.ts'
import { placeable } from './placeables.ts'
import { thrownBy } from './plans.ts'

function setUp(
  unitBytes: readonly number[],
  fixed: readonly number[],
  each: (at: number) => Partial<Worker> = () => ({}),
) {
  const mesh = { pp: fixed.length, tp: 1, ep: 1, replicas: 1 }
  const topology: Topology = {
    hosts: [{ name: 'h' }],
    workers: fixed.map((_, at) => ({ name: `w${at}`, host: 'h', ...each(at) })),
  }
  const tensors = [
    ...unitBytes.map((bytes, unit) => placeable(`u${unit}`, bytes, { units: [unit] })),
    ...fixed.map((bytes, stage) => placeable(`f${stage}`, bytes, { fixed: [stage] })),
  ]
  return { topology, loads: new Loads(tensors, unitBytes.length, new Mesh(mesh, topology), topology) }
}

describe('stagesByObjective()', () => {
  test('balanced deals units by largest remainder', () => {
    const { loads, topology } = setUp([10, 10, 10, 10, 10], [20, 0], (at) => ({ weight: at + 1 }))
    expect(stagesByObjective('balanced', 5, loads, topology)).toEqual([0, 1, 1, 1, 1])
  })

  test('min-peak looks at the size of each unit, and spreads the rest best', () => {
    const { loads, topology } = setUp([1, 1, 1, 9, 2, 2, 2], [0, 0, 0])
    expect(stagesByObjective('min-peak', 7, loads, topology)).toEqual([0, 0, 0, 1, 2, 2, 2])
    const fixed = setUp([4, 4, 4, 4], [0, 0, 100])
    expect(stagesByObjective('min-peak', 4, fixed.loads, fixed.topology)).toEqual([0, 0, 1, 1])
  })

  test('sequential fills the memory of one stage before the next', () => {
    const { loads, topology } = setUp([4, 4, 4, 4, 4], [5, 0, 0], () => ({ memoryBytes: 14 }))
    expect(stagesByObjective('sequential', 5, loads, topology)).toEqual([0, 0, 1, 1, 1])
  })

  test('sequential leaves what does not fit to the last stage', () => {
    const { loads, topology } = setUp([4, 4, 4, 4, 4], [0, 0], () => ({ memoryBytes: 4 }))
    expect(stagesByObjective('sequential', 5, loads, topology)).toEqual([0, 1, 1, 1, 1])
  })

  test('sequential must know the memory of every worker', () => {
    const { loads, topology } = setUp([4], [0, 0], (at) => (at === 1 ? {} : { memoryBytes: 4 }))
    expect(thrownBy(() => stagesByObjective('sequential', 1, loads, topology))).toMatchObject({
      code: 'TOPOLOGY_INVALID',
      worker: 'w1',
      field: 'workers[1].memoryBytes',
    })
  })

  test('leaves stages empty where there are fewer units', () => {
    const { loads, topology } = setUp([4], [0, 0, 0])
    for (const objective of ['balanced', 'min-peak'] as const) {
      expect(stagesByObjective(objective, 1, loads, topology)).toHaveLength(1)
    }
    const none = setUp([], [0, 0])
    expect(stagesByObjective('balanced', 0, none.loads, none.topology)).toEqual([])
    expect(stagesByObjective('min-peak', 0, none.loads, none.topology)).toEqual([])
  })
})

describe('stagesThatMoveLeast()', () => {
  const moved = [
    [0, 4],
    [0, 4],
    [0, 4],
    [4, 0],
  ]

  test('leaves units where they are', () => {
    expect(stagesThatMoveLeast(moved, setUp([4, 4, 4, 4], [0, 0]).loads, 2)).toEqual([0, 0, 0, 1])
  })

  test('keeps within memory, and gives nothing where there is none', () => {
    const memory = (memoryBytes: number) => setUp([4, 4, 4, 4], [0, 0], () => ({ memoryBytes })).loads
    expect(stagesThatMoveLeast(moved, memory(8), 2)).toEqual([0, 0, 1, 1])
    expect(stagesThatMoveLeast(moved, memory(7), 2)).toBeNull()
  })

  test('spreads best where it does not matter', () => {
    const same = moved.map(() => [4, 4])
    expect(stagesThatMoveLeast(same, setUp([4, 4, 4, 4], [0, 0]).loads, 2)).toEqual([0, 0, 1, 1])
  })
})

describe('stagesByLayers()', () => {
  const units = [[0], [1], [2, 2], []].map((layers) => ({ layers }))
  const { loads } = setUp([4, 4, 4, 1], [0, 9])

  test('goes by the ranges, and puts units without a layer where there is most room', () => {
    const ranges = [
      [0, 1],
      [1, 3],
    ] as const
    expect(stagesByLayers(ranges, units, loads)).toEqual([0, 1, 1, 0])
    const empty = [
      [0, 3],
      [3, 3],
    ] as const
    expect(stagesByLayers(empty, units, loads)).toEqual([0, 0, 0, 1])
  })

  test.each([
    [
      [
        [0, 1],
        [2, 3],
      ],
      'stages.layers',
      'leaves out layer 1',
    ],
    [
      [
        [0, 1],
        [1, 2],
      ],
      'stages.layers',
      'leaves out layer 2',
    ],
    [
      [
        [1, 3],
        [0, 1],
      ],
      'stages.layers[1]',
      'begins at layer 0, but must rise from 3',
    ],
  ] as const)('refuses %j', (ranges, field, message) => {
    const error = thrownBy(() => stagesByLayers(ranges, units, loads))
    expect(error).toMatchObject({ code: 'POLICY_INVALID', field })
    expect(error.message).toContain(message)
  })

  test('refuses to tear a unit apart', () => {
    const torn = [{ layers: [0, 2] }]
    const ranges = [
      [0, 1],
      [1, 3],
    ] as const
    expect(thrownBy(() => stagesByLayers(ranges, torn, loads)).message).toContain('layers 0 and 2 to stages 0 and 1')
  })
})
