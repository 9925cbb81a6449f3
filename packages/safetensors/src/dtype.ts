/**
 * The element types of safetensors and their sizes in bits, in the serializer's ascending order: it writes the last of
 * these first. Source: `Dtype` of the Rust reference, github.com/huggingface/safetensors.
 */
export const DTYPES: {
  readonly BOOL: 8
  readonly F4: 4
  readonly F6_E2M3: 6
  readonly F6_E3M2: 6
  readonly U8: 8
  readonly I8: 8
  readonly F8_E5M2: 8
  readonly F8_E4M3: 8
  readonly F8_E8M0: 8
  readonly F8_E4M3FNUZ: 8
  readonly F8_E5M2FNUZ: 8
  readonly I16: 16
  readonly U16: 16
  readonly F16: 16
  readonly BF16: 16
  readonly I32: 32
  readonly U32: 32
  readonly F32: 32
  readonly C64: 64
  readonly F64: 64
  readonly I64: 64
  readonly U64: 64
} = Object.freeze({
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
})

/** The name of an element type as it stands in a header, such as `BF16`. */
export type Dtype = keyof typeof DTYPES

/** The names of {@link DTYPES}, in the same order. */
export const DTYPE_NAMES: readonly Dtype[] = Object.freeze(Object.keys(DTYPES) as Dtype[])

const RANKS: ReadonlyMap<string, number> = new Map(DTYPE_NAMES.map((dtype, rank) => [dtype, rank]))

/** Whether `value` names an element type; case matters. */
export function isDtype(value: unknown): value is Dtype {
  return typeof value === 'string' && RANKS.has(value)
}

/** The size of one element in bits: 4 for F4, 6 for the F6 types, else a multiple of 8. */
export function dtypeBits(dtype: Dtype): number {
  return DTYPES[dtype]
}

/** Orders element types as the serializer ranks them, smallest first. */
export function compareDtypes(a: Dtype, b: Dtype): number {
  return RANKS.get(a)! - RANKS.get(b)!
}
