import { compareUtf8 } from '@onecopy/safetensors'

/** Orders names as people do: runs of digits by their value, `layers.9` before `layers.10`; all else by UTF-8. */
export function compareNatural(a: string, b: string): number {
  const left = a.match(/\d+|\D+/g) ?? []
  const right = b.match(/\d+|\D+/g) ?? []
  for (const [at, text] of left.entries()) {
    const other = right[at]
    if (other === undefined) return 1
    const numbers = /^\d/.test(text) && /^\d/.test(other)
    const order = numbers ? compareDigits(text, other) : compareUtf8(text, other)
    if (order !== 0) return order
  }
  // Names that differ in leading zeros alone still need one order.
  return left.length - right.length || compareUtf8(a, b)
}

/** By value, however many digits there are. */
function compareDigits(a: string, b: string): number {
  const left = a.replace(/^0+/, '')
  const right = b.replace(/^0+/, '')
  return left.length - right.length || compareUtf8(left, right)
}
