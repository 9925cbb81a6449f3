import { quoteName, type SelectedRange } from '@onecopy/safetensors'
import { extentsByDimension, takesAll } from './extents.ts'

/** Names in a sentence: as many as anybody reads. */
const MAX_NAMED = 8

/** A selection for people: `[0:4, :]`, and `[0:4+8:12]` where several extents are joined; half-open, outermost first. */
export function rangesText(shape: readonly number[], ranges: readonly SelectedRange[]): string {
  const texts = extentsByDimension(shape, ranges).map((extents, dimension) => {
    if (takesAll(extents, shape[dimension]!)) return ':'
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
