import {
  checkArgument,
  type Dtype,
  dtypeBits,
  forEachRun,
  gather,
  quoteName,
  type ResolvedSlice,
  resolveSlice,
  rules,
  type SliceRange,
} from '@onecopy/safetensors/tensors'
import { CONVERTIBLE_FORMATS, type ConvertibleFormat, convertToFloat32 } from '@onecopy/sharedarraybuffer-utils/mapped'
import { elementArray, orTooLarge } from './element-arrays.ts'
import { CheckpointError } from './errors.ts'
import type { ReadonlyTypedArray } from './readonly-typed-array.ts'

/** Where a view gets its bytes: a mapping, a heap copy, or the result of a strided slice. */
export interface TensorBytes {
  /** Exactly the bytes of a half-open range. */
  buffer(begin: number, end: number): SharedArrayBuffer
  /** The same bytes at an even address: a copy that all threads share. */
  alignedCopy(begin: number, end: number): SharedArrayBuffer
  /** Whether a part of a range is given without a copy. */
  readonly sharesParts: boolean
}

/** What a view is made from. */
export interface TensorViewInit {
  readonly name: string
  readonly dtype: Dtype
  readonly shape: readonly number[]
  readonly bytes: TensorBytes
  readonly begin: number // in `bytes`
  readonly end: number // exclusive
  readonly copied: boolean
}

const OUT = rules.instanceOf(Float32Array, 'a Float32Array')

const convertible: ReadonlySet<string> = new Set(CONVERTIBLE_FORMATS)

/**
 * One tensor, or a slice of one, as every worker sees it: the same memory, read-only. Small and cheap; its buffer is
 * made on first use and keeps the memory alive for as long as anybody holds it, also after the checkpoint was closed.
 */
export class TensorView {
  readonly name: string
  readonly dtype: Dtype
  readonly shape: readonly number[]
  readonly byteLength: number
  /**
   * True when `buffer` is a copy in ordinary memory: strided slices, parts of tensors on heap backing, and BF16, F16, I16
   * and U16 at an odd byte of a mapped file, which V8 cannot read in place (one copy for all threads of the process).
   */
  readonly copied: boolean
  readonly #bytes: TensorBytes
  readonly #begin: number
  readonly #atOddAddress: boolean
  readonly #unreadable: boolean
  #buffer: SharedArrayBuffer | undefined
  #data: ReadonlyTypedArray | undefined

  /** @internal Views come from `checkpoint.tensor()` and `view.slice()`. */
  constructor(init: TensorViewInit) {
    this.name = init.name
    this.dtype = init.dtype
    this.shape = init.shape
    this.byteLength = init.end - init.begin
    // Reading 16-bit elements of shared memory at an odd address ends the process in V8's slower paths (at(), includes(),
    // a plain loop before it is optimised): "Check failed: kInt32Size <= alignof(ElementType)", Node 20 to 26. Wider
    // elements are read right anywhere. A mapping begins at a page, so the place in the file tells.
    this.#atOddAddress = init.bytes.sharesParts && init.begin % 2 === 1
    this.#unreadable = this.#atOddAddress && dtypeBits(init.dtype) === 16
    this.copied = init.copied || this.#unreadable
    this.#bytes = init.bytes
    this.#begin = init.begin
  }

  /** Number of elements: the product of the shape, 1 for rank 0. */
  get elementCount(): number {
    return this.shape.includes(0) ? 0 : this.shape.reduce((product, size) => product * size, 1)
  }

  /**
   * Exactly this tensor's bytes, little-endian in C order, at byteOffset 0. May be posted to other threads; above 4 GiB
   * post this and not `data`, since a typed array that is posted keeps only the low 32 bits of its length.
   * @throws CheckpointError CHECKPOINT_CLOSED when the checkpoint was closed before the first use
   */
  get buffer(): SharedArrayBuffer {
    this.#buffer ??= this.#unreadable
      ? this.#bytes.alignedCopy(this.#begin, this.#begin + this.byteLength)
      : this.#memory()
    return this.#buffer
  }

  #memory(): SharedArrayBuffer {
    return this.#bytes.buffer(this.#begin, this.#begin + this.byteLength)
  }

  /** The bytes for those who read them at any address, and so need no copy. */
  #source(): SharedArrayBuffer {
    return this.#buffer ?? (this.#unreadable ? this.#memory() : this.buffer)
  }

  /**
   * The elements: F32 as Float32Array, BF16 and F16 as the bits in a Uint16Array, F8 in a Uint8Array, F4 and F6 packed in
   * a Uint8Array, C64 as real and imaginary part in turn, I64 and U64 as BigInts, the others as they are.
   * @throws CheckpointError TENSOR_TOO_LARGE, CHECKPOINT_CLOSED
   */
  get data(): ReadonlyTypedArray {
    this.#data ??= elementArray(this.dtype, this.buffer, this.name)
    return this.#data
  }

  /**
   * A part of this tensor. A slice that is one run of bytes (a range of the leading dimension, say) is a view of the same
   * memory; any other is gathered into a copy, and says so in `copied`.
   * @param ranges one for each dimension from the first; those left out are whole. A number picks one position (negative
   * counts from the end) and drops the dimension; `[start, stop]` and `[start, stop, step]` are half-open; null is whole
   * @throws TypeError for a range of another form; SafetensorsError SAFETENSORS_INVALID_SLICE, SAFETENSORS_MISALIGNED_SLICE (F4
   * and F6 off a byte boundary)
   * @throws CheckpointError TENSOR_TOO_LARGE for a copy of more bytes than this Node can index; CHECKPOINT_CLOSED
   */
  slice(...ranges: readonly SliceRange[]): TensorView {
    const slice = resolveSlice(this.dtype, this.shape, ranges, this.name)
    const common = { name: this.name, dtype: this.dtype, shape: slice.shape }
    if (slice.contiguous) {
      const begin = this.#begin + slice.byteOffset
      const end = begin + slice.byteLength
      const copied = this.copied || !(this.#bytes.sharesParts || slice.byteLength === this.byteLength)
      return new TensorView({ ...common, bytes: this.#bytes, begin, end, copied })
    }
    const gathered = new SharedArrayBuffer(slice.byteLength)
    const target = orTooLarge(this.name, `A copied slice of ${slice.byteLength} bytes`, () => new Uint8Array(gathered))
    if (this.#atOddAddress) gatherBytes(this.#source(), slice, target)
    else gather(this.buffer, slice, target)
    return new TensorView({ ...common, bytes: ownedBytes(gathered), begin: 0, end: slice.byteLength, copied: true })
  }

  /**
   * The elements as 32-bit floats, in a new array or in `out`. Exact where a float can hold the value, else rounded to the
   * nearest. Dtypes: every one but C64. F4 takes the low nibble first; see `convertToFloat32` for all details.
   * @param out at least as long as `elementCount`
   * @throws CheckpointError TENSOR_NOT_CONVERTIBLE, TENSOR_TOO_LARGE, CHECKPOINT_CLOSED; TypeError when `out` is something else, RangeError when
   * it is too short
   */
  toFloat32(out?: Float32Array): Float32Array {
    if (out !== undefined) checkArgument('The array given to toFloat32()', out, OUT)
    if (!convertible.has(this.dtype)) {
      const message = `Tensor ${quoteName(this.name)} has dtype ${this.dtype}, which has no conversion to 32-bit floats`
      throw new CheckpointError('TENSOR_NOT_CONVERTIBLE', message, { tensor: this.name })
    }
    const count = this.elementCount
    if (out !== undefined && out.length < count) {
      throw new RangeError(
        `Tensor ${quoteName(this.name)} has ${count} elements; the array given has room for ${out.length}`,
      )
    }
    const target = out ?? orTooLarge(this.name, `A Float32Array of ${count} elements`, () => new Float32Array(count))
    const source = { buffer: this.#source(), byteOffset: 0, byteLength: this.byteLength }
    convertToFloat32(this.dtype as ConvertibleFormat, source, count, target)
    return target
  }
}

function ownedBytes(whole: SharedArrayBuffer): TensorBytes {
  const buffer = (begin: number, end: number): SharedArrayBuffer =>
    begin === 0 && end === whole.byteLength ? whole : whole.slice(begin, end)
  return { sharesParts: false, buffer, alignedCopy: buffer }
}

/** `gather` reads units of 16 bits where all lengths are even; at an odd address that ends the process (see above). */
function gatherBytes(source: SharedArrayBuffer, slice: ResolvedSlice, target: Uint8Array): void {
  let written = 0
  forEachRun(slice, (byteOffset, byteLength) => {
    target.set(new Uint8Array(source, byteOffset, byteLength), written)
    written += byteLength
  })
}
