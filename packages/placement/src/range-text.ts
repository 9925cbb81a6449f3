import { extentsOf, quoteName, type SelectedRange } from '@onecopy/safetensors'

/** Names in a sentence: as many as anybody reads. */
const MAX_NAMED = 8

/** A selection for people: `[0:4, :]`, and `[0:4+8:12]` where several extents are joined; half-open, outermost first. */
export function rangesText(shape: readonly number[], ranges: readonly SelectedRange[]): string {
  const texts = shape.map((size, dimension) => {
    const extents = extentsOf(ranges[dimension] ?? [0, size])
    const [first] = extents
    if (extents.length === 1 && first![0] === 0 && first![1] === size) return ':'
    return extents.map(([start, stop]) => `${start}:${stop}`).join('+')
  })
  return `[${texts.join(', ')}]`
}

/** Names in quotes, the first few of many. */
export function quotedNames(names: readonly string[]): string {
  const shown = names.slice(0, MAX_NAMED).map((name) => quoteName(name))
  const more = names.length - shown.length
  return `${shown.join(', ')}${more === 0 ? '' : ` and ${more} more`}`
}
