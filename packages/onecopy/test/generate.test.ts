import { describe, expect, test } from 'vitest'
import { normalBf16, uniformNumbers } from '../src/commands/demo/random-numbers.ts'
import { planModel, plannedBytes } from '../src/commands/demo/transformer-shapes.ts'
import { WeightValues } from '../src/commands/demo/weight-values.ts'

const MIB = 2 ** 20

function floats(bits: Uint16Array): Float32Array {
  return new Float32Array(Uint32Array.from(bits, (value) => value << 16).buffer)
}

function moments(values: Float32Array): { mean: number; deviation: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length
  return { mean, deviation: Math.sqrt(variance) }
}

describe('planModel', () => {
  test.each([8, 32, 100, 512, 1024, 2048, 16 * 1024])(
    'comes within 15 %% of %d MiB and lists every weight of a layer',
    (size) => {
      const { tensors, byteLength, layerCount } = planModel(size * MIB)
      expect(Math.abs(byteLength / (size * MIB) - 1)).toBeLessThan(0.15)
      expect(tensors).toHaveLength(3 + 9 * layerCount)
      expect(new Set(tensors.map(({ name }) => name)).size).toBe(tensors.length)
      expect(plannedBytes(size * MIB)).toBe(byteLength)
    },
  )
})

describe('normalBf16', () => {
  test('draws the distribution asked for, the same for the same seed', () => {
    const first = new Uint16Array(100_001)
    const second = new Uint16Array(100_001)
    normalBf16(first, 1, 0.05, 7)
    normalBf16(second, 1, 0.05, 7)
    expect(first).toEqual(second)
    const { mean, deviation } = moments(floats(first))
    expect(mean).toBeCloseTo(1, 2)
    expect(deviation).toBeCloseTo(0.05, 2)
    normalBf16(second, 1, 0.05, 8)
    expect(first).not.toEqual(second)
  })

  test('uniformNumbers() stays in [0, 1)', () => {
    const next = uniformNumbers(3)
    const drawn = Array.from({ length: 10_000 }, () => next())
    expect(drawn.every((value) => value >= 0 && value < 1)).toBe(true)
  })
})

describe('WeightValues', () => {
  test('gives every tensor its length, values of its role, and values of its own', () => {
    const plan = planModel(8 * MIB)
    const values = new WeightValues(plan)
    const starts = new Set<string>()
    for (const tensor of plan.tensors) {
      const { buffer, byteOffset, byteLength } = values.bytesOf(tensor)
      const elements = tensor.shape.reduce((product, size) => product * size, 1)
      expect(byteLength).toBe(elements * 2)
      const bits = new Uint16Array(buffer, byteOffset, Math.min(elements, 4096))
      const { mean, deviation } = moments(floats(bits))
      expect(mean).toBeCloseTo(tensor.role === 'norm' ? 1 : 0, 1)
      expect(deviation).toBeGreaterThan(0.001)
      expect(deviation).toBeLessThan(0.06)
      starts.add(bits.subarray(0, 64).join())
    }
    expect(starts.size).toBe(plan.tensors.length)
  })
})
