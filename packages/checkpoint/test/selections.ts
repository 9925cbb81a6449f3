import { DTYPE_NAMES, dtypeBits, extentsOf, type SelectedRange, type SelectedTensor } from '@onecopy/safetensors'
import fc from 'fast-check'
import { noise, type RawTensor } from './support.ts'

/** The shape of a selected part, the slow way. */
export function pickedShape({ shape }: RawTensor, ranges: readonly SelectedRange[] = []): number[] {
  return positions(shape, ranges).map(({ length }) => length)
}

/** The bytes of a selected part, the slow way: bit by bit of every element. */
export function picked({ dtype, shape, bytes }: RawTensor, ranges: readonly SelectedRange[] = []): Uint8Array {
  const bits = dtypeBits(dtype)
  const taken = positions(shape, ranges)
  const count = taken.reduce((product, { length }) => product * length, 1)
  const result = new Uint8Array((count * bits) / 8)
  for (let element = 0; element < count; element++) {
    let rest = element
    let source = 0
    let stride = 1
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const choices = taken[axis]!
      source += choices[rest % choices.length]! * stride
      rest = Math.floor(rest / choices.length)
      stride *= shape[axis]!
    }
    for (let bit = 0; bit < bits; bit++) {
      const from = source * bits + bit
      const to = element * bits + bit
      result[to >> 3]! |= ((bytes[from >> 3]! >> (from & 7)) & 1) << (to & 7)
    }
  }
  return result
}

function positions(shape: readonly number[], ranges: readonly SelectedRange[]): number[][] {
  return shape.map((size, axis) => {
    const range = ranges[axis]
    const extents = range === undefined ? [[0, size] as const] : extentsOf(range)
    return extents.flatMap(([start, stop]) => Array.from({ length: stop - start }, (_, at) => start + at))
  })
}

/** A tensor and what is selected of it, if anything. */
export interface Case {
  readonly raw: RawTensor
  readonly selected: SelectedTensor | null
}

/** Tensors of all dtypes with any selection of them, in any order: F4 and F6 at whole bytes. */
export const cases: fc.Arbitrary<readonly Case[]> = fc
  .array(
    fc
      .record({
        dtype: fc.constantFrom(...DTYPE_NAMES),
        shape: fc.array(fc.integer({ min: 0, max: 6 }), { maxLength: 4 }),
        chosen: fc.array(fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }), { maxLength: 4 }),
        wanted: fc.constantFrom('part', 'part', 'part', 'whole', 'no'),
      })
      .map(({ dtype, shape, chosen, wanted }) => {
        const unit = dtypeBits(dtype) < 8 ? 4 : 1 // elements that fill whole bytes
        const whole = unit > 1 && shape.length === 0 ? [2] : shape
        const last = whole.length - 1
        const ranges = chosen.slice(0, whole.length).map((choices, axis) => {
          const scale = axis === last ? unit : 1
          return rangeOf(choices.slice(0, whole[axis])).map(([start, stop]) => [start * scale, stop * scale] as const)
        })
        const sizes = whole.map((size, axis) => (axis === last ? size * unit : size))
        return {
          dtype,
          shape: sizes,
          ranges: ranges.map((extents) => (extents.length === 1 ? extents[0]! : extents)),
          wanted,
        }
      }),
    { minLength: 1, maxLength: 12 },
  )
  .chain((list) => fc.tuple(fc.constant(list), fc.shuffledSubarray([...list.keys()], { minLength: list.length })))
  .map(([list, order]) =>
    order.map((number) => {
      const { dtype, shape, ranges, wanted } = list[number]!
      const elements = shape.reduce((product, size) => product * size, 1)
      const raw = {
        name: `t${number}`,
        dtype,
        shape,
        bytes: noise((elements * dtypeBits(dtype)) / 8, number + elements),
      }
      const name = raw.name
      return { raw, selected: wanted === 'no' ? null : wanted === 'whole' ? { name } : { name, ranges } }
    }),
  )

/** The runs of true as extents; a dimension of which nothing is taken has an empty one. */
function rangeOf(choices: readonly boolean[]): [number, number][] {
  const extents: [number, number][] = []
  for (const [at, taken] of choices.entries()) {
    if (!taken) continue
    const last = extents.at(-1)
    if (last?.[1] === at) last[1]++
    else extents.push([at, at + 1])
  }
  return extents.length === 0 ? [[0, 0]] : extents
}
