import { type Dtype, dtypeBits } from './dtype.ts'
import { quoteName, SafetensorsError } from './errors.ts'

/** An exact u64: a number up to 2^53 - 1, a bigint above, so that equal values are equal under `===`. */
export type Uint64 = number | bigint

/** Of a shape in an error: a hostile one may have fifty million. */
const MAX_SHOWN_DIMENSIONS = 16

/** The greatest value of a u64. */
export const MAX_UINT64: bigint = 2n ** 64n - 1n

/**
 * The exact size in bytes of a tensor. The products are taken left to right in u64, as the reference implementation
 * takes them: `[2^64-1, 2, 0]` overflows, `[0, 2^64-1, 2]` does not.
 *
 * @throws SafetensorsError SAFETENSORS_VALIDATION_OVERFLOW where a product is above 2^64 - 1, and
 * SAFETENSORS_MISALIGNED_SLICE where elements of less than a byte do not fill whole bytes.
 */
export function exactByteLength(dtype: Dtype, shape: readonly Uint64[], tensor?: string): Uint64 {
  let elements: Uint64 = 1
  for (const dimension of shape) elements = multiply(elements, dimension, dtype, shape, tensor)
  const bits = multiply(elements, dtypeBits(dtype), dtype, shape, tensor)
  const misaligned = typeof bits === 'number' ? bits % 8 !== 0 : bits % 8n !== 0n
  if (misaligned) {
    throw new SafetensorsError(
      'SAFETENSORS_MISALIGNED_SLICE',
      `${named(tensor)}${elements} elements of ${dtype} take ${bits} bits, which must be whole bytes`,
      { tensor, details: { dtype, shape: shape.slice(0, MAX_SHOWN_DIMENSIONS), bits } },
    )
  }
  return typeof bits === 'number' ? bits / 8 : canonical(bits / 8n)
}

function multiply(a: Uint64, b: Uint64, dtype: Dtype, shape: readonly Uint64[], tensor: string | undefined): Uint64 {
  if (typeof a === 'number' && typeof b === 'number') {
    const product = a * b
    if (product <= Number.MAX_SAFE_INTEGER) return product
  }
  const product = BigInt(a) * BigInt(b)
  if (product > MAX_UINT64) {
    const more = shape.length > MAX_SHOWN_DIMENSIONS ? ', …' : ''
    const shown = `${shape.slice(0, MAX_SHOWN_DIMENSIONS).join(', ')}${more}`
    throw new SafetensorsError(
      'SAFETENSORS_VALIDATION_OVERFLOW',
      `${named(tensor)}The size of ${dtype} [${shown}] overflows: ${a} × ${b} is ${product}, but elements and bits must each be at most ${MAX_UINT64}`,
      { tensor, details: { dtype, shape: shape.slice(0, MAX_SHOWN_DIMENSIONS), product } },
    )
  }
  return canonical(product)
}

/** Begins the sentence of an error about a tensor. */
function named(tensor: string | undefined): string {
  return tensor === undefined ? '' : `Tensor ${quoteName(tensor)}: `
}

/** A bigint as {@link Uint64}. */
export function canonical(value: bigint): Uint64 {
  return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value
}

/**
 * The size in bytes of a tensor of this type and shape.
 *
 * @throws SafetensorsError SAFETENSORS_TENSOR_INVALID_INFO for a dimension that is not an integer from 0 to 2^53 - 1,
 * SAFETENSORS_VALIDATION_OVERFLOW above 2^53 - 1 bytes, SAFETENSORS_MISALIGNED_SLICE where F4 or F6 elements do not fill
 * whole bytes.
 */
export function tensorByteLength(dtype: Dtype, shape: readonly number[], tensor?: string): number {
  for (const [axis, dimension] of shape.entries()) {
    if (Number.isSafeInteger(dimension) && dimension >= 0) continue
    throw new SafetensorsError(
      'SAFETENSORS_TENSOR_INVALID_INFO',
      `${named(tensor)}Dimension ${axis} is ${dimension}, but must be an integer from 0 to 2^53 - 1`,
      { tensor, details: { axis, dimension } },
    )
  }
  const byteLength = exactByteLength(dtype, shape, tensor)
  if (typeof byteLength === 'number') return byteLength
  throw new SafetensorsError(
    'SAFETENSORS_VALIDATION_OVERFLOW',
    `${named(tensor)}${byteLength} bytes are too many, there must be at most ${Number.MAX_SAFE_INTEGER}`,
    { tensor, details: { byteLength } },
  )
}
