import type { Cutting } from '../src/pieces.ts'
import type { PlaceableTensor } from '../src/place-tensors.ts'

/** A whole tensor of bytes on every position along ep and tp. */
export function wholeCutting(bytes: number): Cutting {
  return { cuts: [], expertAt: null, pieces: [{ ranges: [], ep: null, tp: null, byteLength: bytes }] }
}

/** A tensor of bytes that goes to these stages and units. */
export function placeable(
  name: string,
  bytes: number,
  needs: { readonly fixed?: readonly number[]; readonly units?: readonly number[] },
  { cutting = wholeCutting(bytes), pinned = [] }: { cutting?: Cutting; pinned?: readonly number[] } = {},
): PlaceableTensor {
  return {
    tensor: { name, dtype: 'U8', shape: [bytes], shard: 0, begin: 0, end: bytes },
    cutting,
    needs: { fixed: needs.fixed ?? [], units: needs.units ?? [], together: false, tied: false },
    pinned,
  }
}
