import type { IndexedTensor } from '@onecopy/safetensors'

/** A tensor as far as its elements are concerned, wherever they are. */
export type Shaped = Pick<IndexedTensor, 'name' | 'dtype' | 'shape'>

/** A text that tensors of the same dtype and shape share. */
export function kindOf({ dtype, shape }: Pick<Shaped, 'dtype' | 'shape'>): string {
  return `${dtype} ${shape.join()}`
}
