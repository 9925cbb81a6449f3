import { expect, test } from 'vitest'
import { Mesh } from '../src/mesh.ts'
import { TensorPlacer } from '../src/place-tensors.ts'
import { placeable, wholeCutting } from './placeables.ts'
import { topologyFor } from './random-models.ts'

const size = { pp: 3, tp: 2, ep: 1, replicas: 1 }
const mesh = new Mesh(size, topologyFor(size))

test('TensorPlacer.stages() joins fixed stages, those of units, and those of pinned workers', () => {
  const placer = new TensorPlacer(mesh)
  expect(placer.stages(placeable('a', 1, { fixed: [2], units: [1, 0] }), [0, 2])).toEqual([0, 2])
  expect(placer.stages(placeable('a', 1, {}, { pinned: [1, 4, 5] }), [])).toEqual([0, 2])
})

test('TensorPlacer.place() gives each piece to the workers at its positions', () => {
  const cutting = {
    cuts: [],
    expertAt: null,
    pieces: [
      { ranges: [[0, 3]], ep: null, tp: [0], byteLength: 3 },
      { ranges: [[3, 6]], ep: null, tp: [1], byteLength: 3 },
    ],
  } as const
  const placed = new TensorPlacer(mesh).place(placeable('a', 6, { fixed: [0, 2] }, { cutting }), [0, 2])
  expect(placed).toEqual({
    name: 'a',
    dtype: 'U8',
    shape: [6],
    shard: 0,
    begin: 0,
    end: 6,
    parts: [
      { ranges: [[0, 3]], workers: [0, 4] },
      { ranges: [[3, 6]], workers: [1, 5] },
    ],
  })
})

test('TensorPlacer.place() shares parts by cutting and stages, and keeps pinned ones apart', () => {
  const placer = new TensorPlacer(mesh)
  const cutting = wholeCutting(4)
  const parts = (name: string, stages: readonly number[], pinned: readonly number[] = []) => {
    return placer.place(placeable(name, 4, { fixed: stages }, { cutting, pinned }), stages).parts
  }
  expect(parts('b', [1])).toBe(parts('a', [1]))
  expect(parts('c', [2])).not.toBe(parts('a', [1]))
  expect(parts('d', [1], [3])).toEqual([{ ranges: [], workers: [3] }])
  expect(parts('e', [1])).toEqual([{ ranges: [], workers: [2, 3] }])
})
