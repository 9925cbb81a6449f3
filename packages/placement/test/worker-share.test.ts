import { dtypeBits, resolveSelected, type SelectedRange } from '@onecopy/safetensors'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PlacedTensor } from '../src/plan-data.ts'
import { WorkerTensor } from '../src/worker-share.ts'
import { bodyArbitrary, elementsOf } from './plans.ts'

/** Bytes as runs that do not touch, from the elements' places in the tensor; every type in units of four elements. */
function runsOf(tensor: PlacedTensor, ranges: readonly SelectedRange[]): [number, number][] {
  const bits = dtypeBits(tensor.dtype)
  const runs: [number, number][] = []
  for (const element of elementsOf(tensor.shape, ranges)) {
    const [begin, end] = [tensor.begin * 8 + element * bits, tensor.begin * 8 + (element + 1) * bits]
    const last = runs.at(-1)
    if (last !== undefined && last[1] === begin) last[1] = end
    else runs.push([begin, end])
  }
  return runs.map(([begin, end]) => [begin / 8, end / 8])
}

describe('WorkerTensor', () => {
  test('agrees with resolveSelected() and with a count element by element', () => {
    const seen = { contiguous: 0, strided: 0, empty: 0, whole: 0 }
    fc.assert(
      fc.property(bodyArbitrary, ({ tensors, shards }) => {
        for (const tensor of tensors) {
          for (const { ranges } of tensor.parts) {
            const held = new WorkerTensor(tensor, ranges, shards[tensor.shard]!.name)
            const { shape, byteLength, contiguous, boxes } = resolveSelected(tensor.dtype, tensor.shape, ranges)
            expect({ ...held }).toMatchObject({ name: tensor.name, dtype: tensor.dtype, shape, byteLength, contiguous })
            const runs = runsOf(tensor, ranges)
            expect([...held.byteRanges()]).toEqual(runs)
            expect(held.whole).toBe(shape.every((size, dimension) => size === tensor.shape[dimension]))
            expect(held.boxes).toHaveLength(byteLength === 0 ? 0 : boxes.length)
            for (const [at, { lengths }] of held.boxes.entries()) expect(lengths).toEqual(boxes[at]!.source.shape)
            if (byteLength === 0) expect([held.begin, held.end]).toEqual([tensor.begin, tensor.begin])
            else expect([held.begin, held.end]).toEqual([runs[0]![0], runs.at(-1)![1]])
            if (contiguous) expect(held.end - held.begin).toBe(byteLength)
            seen[byteLength === 0 ? 'empty' : held.whole ? 'whole' : contiguous ? 'contiguous' : 'strided']++
          }
        }
      }),
    )
    expect(Object.values(seen).every((count) => count > 0)).toBe(true)
  })

  test('joins runs that touch over the end of a row', () => {
    const tensor = {
      name: 't',
      dtype: 'BF16',
      shape: [2, 6],
      shard: 0,
      begin: 100,
      end: 124,
      reason: 0,
      parts: [],
    } as const
    const held = new WorkerTensor(
      tensor,
      [
        [0, 2],
        [
          [0, 2],
          [4, 6],
        ],
      ],
      'x.safetensors',
    )
    expect([...held.byteRanges()]).toEqual([
      [100, 104],
      [108, 116],
      [120, 124],
    ])
    expect(held.boxes).toEqual([
      { offsets: [0, 0], lengths: [2, 2], targetOffsets: [0, 0] },
      { offsets: [0, 4], lengths: [2, 2], targetOffsets: [0, 2] },
    ])
    expect(held.boxes).toBe(held.boxes)
  })
})
