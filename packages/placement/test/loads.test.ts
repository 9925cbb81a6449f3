import { expect, test } from 'vitest'
import { Loads } from '../src/loads.ts'
import { Mesh } from '../src/mesh.ts'
import type { Cutting } from '../src/pieces.ts'
import { placeable } from './placeables.ts'
import { topologyFor } from './random-models.ts'

const size = { pp: 2, tp: 2, ep: 2, replicas: 1 }
const { hosts, workers } = topologyFor(size)

/** Of a tensor of 8 bytes the first position along tp has 6. */
const uneven: Cutting = {
  cuts: [],
  expertAt: null,
  pieces: [
    { ranges: [[0, 6]], ep: null, tp: [0], byteLength: 6 },
    { ranges: [[6, 8]], ep: null, tp: [1], byteLength: 2 },
  ],
}
const expert: Cutting = { cuts: [], expertAt: 1, pieces: [{ ranges: [], ep: [1], tp: null, byteLength: 20 }] }

const tensors = [
  placeable('embed', 5, { fixed: [0] }),
  placeable('both', 3, { fixed: [0, 1] }),
  placeable('a', 8, { units: [0] }, { cutting: uneven }),
  placeable('b', 20, { units: [1] }, { cutting: expert }),
  placeable('pinned', 100, {}, { pinned: [7] }),
]

function loadsOf(list: typeof workers): Loads {
  const topology = { hosts, workers: list }
  return new Loads(tensors, 2, new Mesh(size, topology), topology)
}

test('Loads counts tensors once for each stage and unit, and weights of workers', () => {
  const loads = loadsOf(workers.map((worker, at) => (at === 0 ? { ...worker, weight: 3 } : worker)))
  expect(loads.unitBytes).toEqual([8, 20])
  expect(loads.stageBytes).toEqual([8, 103])
  expect(loads.stageWeights).toEqual([6, 4])
})

test('Loads.peak() is what the fullest worker would hold for its weight', () => {
  const loads = loadsOf(workers)
  expect(loads.peak(0, 0, 0)).toBe(8)
  expect(loads.peak(0, 0, 1)).toBe(14)
  expect(loads.peak(0, 1, 2)).toBe(28)
  expect(loads.peak(0, 0, 2)).toBe(34)
  expect(loads.peak(1, 0, 1)).toBe(105) // the pinned one is at the last position along tp
  expect(loads.peakOf(0, [1])).toBe(28)
  expect(loads.peakOf(0, [0, 1])).toBe(34)
  const weighted = loadsOf(workers.map((worker, at) => (at === 2 ? { ...worker, weight: 2 } : worker)))
  expect(weighted.peak(0, 0, 2)).toBe(30) // worker 2 has 34 for its weight of 2, worker 3 has 30
})

test('Loads.fits() asks every worker of the stage for memory', () => {
  const loads = loadsOf(workers.map((worker, at) => (at === 3 ? { ...worker, memoryBytes: 29 } : worker)))
  expect([loads.fits(0, 0, 1), loads.fits(0, 1, 2), loads.fits(0, 0, 2)]).toEqual([true, true, false])
  expect(loads.fits(1, 0, 2)).toBe(true)
})
