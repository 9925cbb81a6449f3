import fc from 'fast-check'
import { tensorByteLength } from '../src/byte-length.ts'
import { DTYPE_NAMES, type Dtype, dtypeBits } from '../src/dtype.ts'
import type { TensorData } from '../src/serialize.ts'

/** Well-formed text of any characters, with hazards among them. */
export const textArbitrary: fc.Arbitrary<string> = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.constantFrom('', '__proto__', 'constructor', '0', '10', '\u0000', '"', '\\', '\ufeff', '\uffff', '\u{10000}'),
)

/** A dtype with a shape whose elements fill whole bytes. */
export const dtypeAndShapeArbitrary: fc.Arbitrary<{ dtype: Dtype; shape: number[] }> = fc
  .tuple(fc.constantFrom(...DTYPE_NAMES), fc.array(fc.nat(4), { maxLength: 4 }))
  .map(([dtype, shape]) => {
    const elements = shape.reduce((product, dimension) => product * dimension, 1)
    return (elements * dtypeBits(dtype)) % 8 === 0 ? { dtype, shape } : { dtype, shape: [...shape, 4] }
  })

/** Tensors with different names and data. */
export const tensorsArbitrary: fc.Arbitrary<TensorData[]> = fc
  .uniqueArray(fc.record({ name: textArbitrary, kind: dtypeAndShapeArbitrary, fill: fc.nat(255) }), {
    selector: ({ name }) => name,
    maxLength: 6,
  })
  .map((list) =>
    list
      .filter(({ name }) => name !== '__metadata__')
      .map(({ name, kind, fill }) => {
        const data = new Uint8Array(tensorByteLength(kind.dtype, kind.shape)).map((_, i) => fill + i * 7)
        return { name, ...kind, data }
      }),
  )
