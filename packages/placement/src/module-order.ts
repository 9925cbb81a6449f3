import { compareUtf8, type IndexedTensor } from '@onecopy/safetensors'
import { compareNatural } from './natural-order.ts'

/** What modules are declared in front of and behind their siblings, in the order in which models run. */
const RANKS: readonly RegExp[] = [
  /^(?:shared|wte|wpe|.*embed.*)$/,
  /vision|visual|audio|encoder/,
  /projector|connector/,
  /^(?!.*norm|ln_|.*head|decoder|language|text|pooler|classifier|score|cls|output)/,
  /decoder|language|text/,
  /norm|ln_/,
  /./, // heads
]

/** Names that end a model, whatever else is in them. */
const ENDS = /head|embed_out/

/** Orders names of tensors, and of what is before a layer's number, as models declare their modules. */
export function compareModules(a: string, b: string): number {
  const left = a.split('.')
  const right = b.split('.')
  const at = left.findIndex((part, place) => part !== right[place])
  if (at === -1 || right[at] === undefined) return left.length - right.length
  return rankOf(left[at]!) - rankOf(right[at]!) || compareNatural(a, b)
}

function rankOf(part: string): number {
  return ENDS.test(part) ? RANKS.length : RANKS.findIndex((rank) => rank.test(part))
}

/**
 * Whether the tensors of some file lie in an order that says something: that of their declaration, presumably. The reference
 * implementation sorts them by dtype and name.
 *
 * @param tensors as an index has them
 */
export function isDeclaredOrder(tensors: readonly Pick<IndexedTensor, 'name' | 'dtype' | 'shard'>[]): boolean {
  return tensors.some(({ name, dtype, shard }, at) => {
    const before = tensors[at - 1]
    return before?.shard === shard && before.dtype === dtype && compareUtf8(before.name, name) > 0
  })
}
