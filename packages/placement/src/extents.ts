import { type Extent, extentsOf, type SelectedRange } from '@onecopy/safetensors'

/** The extents of every dimension, of whole ones too. */
export function extentsByDimension(
  shape: readonly number[],
  ranges: readonly SelectedRange[],
): readonly (readonly Extent[])[] {
  return shape.map((size, dimension) => extentsOf(ranges[dimension] ?? [0, size]))
}

/** Whether extents take every position of a dimension. */
export function takesAll(extents: readonly Extent[], size: number): boolean {
  return extents.length === 1 && extents[0]![0] === 0 && extents[0]![1] === size
}

/**
 * The one way to write a part of a tensor: a single extent by itself, a whole dimension only where a later one is cut, and
 * nothing for the dimensions behind the last that is cut.
 *
 * @param cut the extents of the dimensions that are cut, by dimension; rising, none touching the next
 */
export function canonicalRanges(
  shape: readonly number[],
  cut: ReadonlyMap<number, readonly Extent[]>,
): readonly SelectedRange[] {
  const rank = cut.size === 0 ? 0 : Math.max(...cut.keys()) + 1
  return shape.slice(0, rank).map((size, dimension) => {
    const extents = cut.get(dimension) ?? [[0, size] as const]
    return extents.length === 1 ? extents[0]! : extents
  })
}
