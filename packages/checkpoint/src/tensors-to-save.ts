import { types } from 'node:util'
import { checkArgument, DTYPE_NAMES, type Dtype, quoteName, rules, tensorByteLength } from '@onecopy/safetensors'
import { arrayNameOf, holdsElements } from './element-arrays.ts'
import { CheckpointError } from './errors.ts'
import type { TensorSpec } from './plan-shards.ts'
import { TensorView } from './tensor-view.ts'

/** Bytes somewhere in a buffer; every ArrayBufferView is one. */
export interface BytesOf {
  readonly buffer: ArrayBufferLike
  readonly byteOffset: number
  readonly byteLength: number
}

/** A tensor to be written. `data` may be a function, called when its turn comes: so a save needs no more than one tensor. */
export interface TensorToSave extends TensorSpec {
  /**
   * The elements, little-endian, in C order: the typed array that a view of this dtype has as `data` (BF16 and F16 as the
   * bits in a Uint16Array), or plain bytes.
   */
  readonly data: BytesOf | (() => BytesOf | Promise<BytesOf>)
}

/** A tensor under the name that it gets, which a view need not have had before. */
export type NamedTensors =
  | ReadonlyMap<string, Omit<TensorToSave, 'name'> | TensorView>
  | Readonly<Record<string, Omit<TensorToSave, 'name'> | TensorView>>

/** What `saveCheckpoint` writes. */
export type TensorsToSave = Iterable<TensorToSave | TensorView> | NamedTensors

const DATA = 'a typed array or other bytes, or a function that gives them'
const DTYPE = { ...rules.oneOf(...DTYPE_NAMES), must: 'a dtype, such as F32 or BF16' }
const SHAPE = { must: 'a list of sizes', isKind: Array.isArray }

/**
 * Sees to it that tensors are what can be written.
 * @throws TypeError, RangeError naming the tensor; CheckpointError SAVE_INVALID for data of another length than the shape's
 */
export function tensorsToSave(given: unknown): (TensorToSave | TensorView)[] {
  const tensors = listOf(given)
  for (const [at, tensor] of tensors.entries()) {
    checkArgument(`Entry ${at} of the tensors`, tensor, {
      ...rules.object,
      must: 'a tensor view, or an object with name, dtype, shape and data',
    })
    if (tensor instanceof TensorView) continue
    const { name, dtype, shape, data } = tensor
    checkArgument(`The name of entry ${at} of the tensors`, name, rules.text)
    checkArgument(`The dtype of tensor ${quoteName(name)}`, dtype, DTYPE)
    checkArgument(`The shape of tensor ${quoteName(name)}`, shape, SHAPE)
    if (typeof data !== 'function') assertFits(tensor, data)
  }
  return tensors
}

function listOf(given: unknown): (TensorToSave | TensorView)[] {
  const must = 'a list of tensors, or a Map or object of tensors by name'
  checkArgument('What saveCheckpoint() is to write', given, {
    must,
    isKind: (value) => typeof value === 'object' && value !== null && !ArrayBuffer.isView(value),
  })
  if (given instanceof Map) return [...given].map(([name, tensor]) => named(name, tensor))
  if (Symbol.iterator in (given as object)) return [...(given as Iterable<TensorToSave | TensorView>)]
  return Object.entries(given as object).map(([name, tensor]) => named(name, tensor))
}

function named(name: unknown, tensor: unknown): TensorToSave | TensorView {
  checkArgument('The name of a tensor', name, rules.text)
  const must = 'a tensor view, or an object with dtype, shape and data'
  const isKind = (value: unknown): boolean => rules.object.isKind(value) && !ArrayBuffer.isView(value)
  checkArgument(`Tensor ${quoteName(name as string)}`, tensor, { must, isKind })
  const { dtype, shape } = tensor as TensorSpec
  const data = tensor instanceof TensorView ? () => bytesOfView(tensor) : (tensor as TensorToSave).data
  return { name: name as string, dtype, shape, data }
}

/** A view's `data` would refuse more elements than a typed array can index; its buffer has no such limit. */
function bytesOfView({ buffer, byteLength }: TensorView): BytesOf {
  return { buffer, byteOffset: 0, byteLength }
}

/** The bytes of a tensor whose turn has come. */
export async function bytesToWrite(tensor: TensorToSave | TensorView): Promise<BytesOf> {
  if (tensor instanceof TensorView) return bytesOfView(tensor)
  if (typeof tensor.data !== 'function') return tensor.data
  const data = await tensor.data()
  assertFits(tensor, data)
  return data
}

function assertFits({ name, dtype, shape }: TensorSpec, data: BytesOf): void {
  const what = `The data of tensor ${quoteName(name)}`
  checkArgument(what, data, { must: DATA, isKind: isBytes })
  if (ArrayBuffer.isView(data) && !holdsElements(dtype, data)) throw new TypeError(unfit(what, dtype, data))
  const needed = tensorByteLength(dtype, shape, name)
  if (data.byteLength === needed) return
  const message = `Tensor ${quoteName(name)} has ${data.byteLength} bytes of data; its dtype and shape, ${dtype} [${shape.join(', ')}], need ${needed}`
  throw new CheckpointError('SAVE_INVALID', message, { tensor: name })
}

function unfit(what: string, dtype: Dtype, data: ArrayBufferView): string {
  return `${what} is a ${data.constructor.name}; for ${dtype} it must be a ${arrayNameOf(dtype)}, or a Uint8Array of the bytes`
}

function isBytes(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const { buffer, byteOffset, byteLength } = value as Partial<BytesOf>
  return types.isAnyArrayBuffer(buffer) && Number.isSafeInteger(byteOffset) && Number.isSafeInteger(byteLength)
}
