import type { BytesOf } from '@onecopy/checkpoint'
import { normalBf16 } from './random-numbers.ts'
import type { ModelPlan, ModelTensor, Role } from './transformer-shapes.ts'

/** Values drawn for each role; a prime, so that rows of a matrix do not repeat each other. */
const DRAWN_VALUES = 2_097_143

const ELEMENT_BYTES = 2

/** The deviation that transformers initialises weights with (`initializer_range`). */
const DEVIATION = 0.02

/**
 * Gives each tensor its values: normally distributed as a model's are at its start, with what writes into the residual
 * stream scaled down by the depth as GPT-2 does it, and norms around 1. Drawing a billion values would take a minute;
 * instead each tensor is a window, at an offset of its own, into a long run of a few million.
 */
export class WeightValues {
  readonly #runs = new Map<Role, Uint16Array<ArrayBuffer>>()
  readonly #lengths: ReadonlyMap<Role, number>
  readonly #offsets = new Map<string, number>()
  readonly #deviations: Readonly<Record<Role, readonly [mean: number, deviation: number]>>

  constructor({ tensors, layerCount }: ModelPlan) {
    const lengths = new Map<Role, number>()
    for (const [at, tensor] of tensors.entries()) {
      lengths.set(tensor.role, Math.max(lengths.get(tensor.role) ?? 0, elementsOf(tensor)))
      // Multiples of a prime that does not divide the run: no two tensors start at the same value.
      this.#offsets.set(tensor.name, (at * 7919) % DRAWN_VALUES)
    }
    this.#lengths = lengths
    this.#deviations = {
      projection: [0, DEVIATION],
      residual: [0, DEVIATION / Math.sqrt(2 * layerCount)],
      norm: [1, 0.05],
    }
  }

  /** The bytes of one tensor; they stay valid, as a window into memory that all tensors of its role share. */
  bytesOf(tensor: ModelTensor): BytesOf {
    const run = this.#runs.get(tensor.role) ?? this.#draw(tensor.role)
    const byteOffset = this.#offsets.get(tensor.name)! * ELEMENT_BYTES
    return { buffer: run.buffer, byteOffset, byteLength: elementsOf(tensor) * ELEMENT_BYTES }
  }

  #draw(role: Role): Uint16Array<ArrayBuffer> {
    const [mean, deviation] = this.#deviations[role]
    const run = new Uint16Array(this.#lengths.get(role)! + DRAWN_VALUES)
    normalBf16(run.subarray(0, DRAWN_VALUES), mean, deviation, role.length)
    for (let filled = DRAWN_VALUES; filled < run.length; filled *= 2) run.copyWithin(filled, 0, filled)
    this.#runs.set(role, run)
    return run
  }
}

function elementsOf({ shape }: ModelTensor): number {
  return shape.reduce((product, size) => product * size, 1)
}
