import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { WorkerIndex } from '../src/worker-index.ts'
import { bodyArbitrary, bodyOf, elementsOf } from './plans.ts'

describe('WorkerIndex', () => {
  test('finds for each worker just the elements that the parts give it, in plan order', () => {
    let joined = 0
    fc.assert(
      fc.property(bodyArbitrary, ({ tensors, workers }) => {
        const index = new WorkerIndex(tensors, workers.length)
        for (const worker of workers.keys()) {
          const expected = tensors
            .map(({ name, shape, parts }) => {
              const held = parts.filter((part) => part.workers.includes(worker))
              if (held.length > 1) joined++
              const elements = held.flatMap(({ ranges }) => elementsOf(shape, ranges)).sort((a, b) => a - b)
              return { name, count: held.length, elements }
            })
            .filter(({ count }) => count > 0)
          const held = index.held(worker)
          expect(held.map(({ tensor }) => tensor.name)).toEqual(expected.map(({ name }) => name))
          expect(held.map(({ tensor, ranges }) => elementsOf(tensor.shape, ranges))).toEqual(
            expected.map(({ elements }) => elements),
          )
          expect(index.count(worker)).toBe(expected.length)
        }
      }),
    )
    expect(joined).toBeGreaterThan(0)
  })

  test('keeps the ranges of a single part as they are', () => {
    const ranges = [[0, 2]] as const
    const parts = [{ ranges, workers: [1] }]
    const { tensors } = bodyOf([
      { name: 'a', dtype: 'U8', shape: [2], parts },
      { name: 'b', dtype: 'U8', shape: [2], parts: [{ ranges, workers: [0] }] },
      { name: 'c', dtype: 'U8', shape: [2, 2], parts },
    ])
    const held = new WorkerIndex(tensors, 2).held(1)
    expect(held.map(({ tensor }) => tensor.name)).toEqual(['a', 'c'])
    for (const one of held) expect(one.ranges).toBe(ranges)
  })
})
