/** The methods of a typed array that write to it, or hand out something that does. */
type Writers = 'copyWithin' | 'fill' | 'reverse' | 'set' | 'sort' | 'subarray' | 'valueOf'

/**
 * A typed array without the ways to write to it: the memory behind is mapped read-only, and a write kills the process.
 * `subarray` is left out because it would give them back; `slice` copies and stays.
 */
export type ReadonlyOf<A> = { readonly [K in Exclude<keyof A, Writers>]: A[K] }

export type ReadonlyTypedArray =
  | ReadonlyOf<Float32Array<SharedArrayBuffer>>
  | ReadonlyOf<Float64Array<SharedArrayBuffer>>
  | ReadonlyOf<Int8Array<SharedArrayBuffer>>
  | ReadonlyOf<Int16Array<SharedArrayBuffer>>
  | ReadonlyOf<Int32Array<SharedArrayBuffer>>
  | ReadonlyOf<Uint8Array<SharedArrayBuffer>>
  | ReadonlyOf<Uint16Array<SharedArrayBuffer>>
  | ReadonlyOf<Uint32Array<SharedArrayBuffer>>
  | ReadonlyOf<BigInt64Array<SharedArrayBuffer>>
  | ReadonlyOf<BigUint64Array<SharedArrayBuffer>>
