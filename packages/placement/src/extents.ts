import type { Extent, SelectedRange } from '@onecopy/safetensors'

/** Rising extents of which none touches the next; those that do become one. */
export function mergeExtents(extents: readonly Extent[]): readonly Extent[] {
  const merged: [start: number, stop: number][] = []
  for (const [start, stop] of extents) {
    const last = merged.at(-1)
    if (last !== undefined && last[1] === start) last[1] = stop
    else merged.push([start, stop])
  }
  return merged
}

/**
 * The one way to write a part of a tensor: a single extent by itself, a whole dimension only where a later one is cut, and
 * nothing for the dimensions behind the last that is cut.
 *
 * @param cut the extents of the dimensions that are cut, by dimension; merged
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
