import { type Dtype, quoteName } from '@onecopy/safetensors/tensors'
import { CheckpointError } from './errors.ts'
import type { ReadonlyTypedArray } from './readonly-typed-array.ts'

/** The typed array that shows each dtype: its values where JavaScript has them, else the bits of its elements. */
const ARRAYS: Readonly<Record<Dtype, ElementArray>> = {
  BOOL: Uint8Array,
  F4: Uint8Array, // packed, two elements a byte
  F6_E2M3: Uint8Array, // packed, four elements in three bytes
  F6_E3M2: Uint8Array,
  U8: Uint8Array,
  I8: Int8Array,
  F8_E5M2: Uint8Array,
  F8_E4M3: Uint8Array,
  F8_E8M0: Uint8Array,
  F8_E4M3FNUZ: Uint8Array,
  F8_E5M2FNUZ: Uint8Array,
  I16: Int16Array,
  U16: Uint16Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  I32: Int32Array,
  U32: Uint32Array,
  F32: Float32Array,
  C64: Float32Array, // real and imaginary part in turn
  F64: Float64Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
}

interface ElementArray {
  readonly name: string
  readonly BYTES_PER_ELEMENT: number
  new (buffer: SharedArrayBuffer): ReadonlyTypedArray
}

/**
 * A typed array over the whole buffer of a tensor.
 * @throws CheckpointError TENSOR_TOO_LARGE when this Node cannot index so many elements (2^32 on Node 20)
 */
export function elementArray(dtype: Dtype, buffer: SharedArrayBuffer, name: string): ReadonlyTypedArray {
  const array = ARRAYS[dtype]
  const elements = buffer.byteLength / array.BYTES_PER_ELEMENT
  return orTooLarge(name, `A ${array.name} of ${elements} elements`, () => new array(buffer))
}

/** The class of the typed array that shows a dtype. */
export function arrayNameOf(dtype: Dtype): string {
  return ARRAYS[dtype].name
}

/** Whether a view has the elements of a dtype, or plain bytes. Views of other realms have the same tags. */
export function holdsElements(dtype: Dtype, view: ArrayBufferView): boolean {
  const tag = (view as { readonly [Symbol.toStringTag]?: string })[Symbol.toStringTag] ?? ''
  if (['Uint8Array', 'Uint8ClampedArray', 'DataView'].includes(tag)) return true
  return tag === ARRAYS[dtype].name || (dtype === 'F16' && tag === 'Float16Array')
}

/**
 * What `make` returns, a typed array that may be too long.
 * @param what the array, as the beginning of a sentence
 * @throws CheckpointError TENSOR_TOO_LARGE
 */
export function orTooLarge<Result>(name: string, what: string, make: () => Result): Result {
  try {
    return make()
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause
    const message = `${what}, for tensor ${quoteName(name)}, is more than Node ${process.version} can index here; take slices of the tensor`
    throw new CheckpointError('TENSOR_TOO_LARGE', message, { tensor: name, cause })
  }
}
