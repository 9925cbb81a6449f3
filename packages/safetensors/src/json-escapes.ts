const BACKSLASH = 0x5c
const LETTER_U = 0x75

/**
 * Resolves the escapes of a JSON string, surrogate pairs included.
 *
 * @param text the UTF-8 bytes between the quotes
 * @param fail makes the error for what was expected at a position of `text`
 * @returns UTF-8 again
 */
export function unescapeJson(text: Uint8Array, fail: (position: number, expected: string) => Error): Uint8Array {
  // No escape is shorter than the UTF-8 it stands for, so a buffer of the written length holds the result.
  const out = new Uint8Array(text.length)
  let length = 0
  for (let position = 0; position < text.length; ) {
    const byte = text[position]!
    if (byte !== BACKSLASH) {
      out[length++] = byte
      position++
    } else if (text[position + 1] === LETTER_U) {
      const codePoint = readCodePoint(text, position, fail)
      position += codePoint > 0xffff ? 12 : 6
      length += writeCodePoint(codePoint, out, length)
    } else {
      const meaning = meaningOf(text[position + 1])
      if (meaning === -1) throw fail(position + 1, 'an escape that JSON knows')
      out[length++] = meaning
      position += 2
    }
  }
  return out.subarray(0, length)
}

function meaningOf(byte: number | undefined): number {
  switch (byte) {
    case 0x22: // "
    case 0x2f: // /
    case BACKSLASH:
      return byte
    case 0x62: // b
      return 0x08
    case 0x66: // f
      return 0x0c
    case 0x6e: // n
      return 0x0a
    case 0x72: // r
      return 0x0d
    case 0x74: // t
      return 0x09
    default:
      return -1
  }
}

type Fail = Parameters<typeof unescapeJson>[1]

/** The code point of the `\uXXXX` at `position`, or of the surrogate pair that begins there. */
function readCodePoint(text: Uint8Array, position: number, fail: Fail): number {
  const high = readHex(text, position, fail)
  if (high < 0xd800 || high > 0xdfff) return high
  const paired = high < 0xdc00 && text[position + 6] === BACKSLASH && text[position + 7] === LETTER_U
  const low = paired ? readHex(text, position + 6, fail) : 0
  if (low < 0xdc00 || low > 0xdfff) throw fail(position, 'a surrogate with its partner')
  return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
}

function readHex(text: Uint8Array, position: number, fail: Fail): number {
  let value = 0
  for (let i = position + 2; i < position + 6; i++) {
    const digit = hexDigit(text[i] ?? 0)
    if (digit === -1) throw fail(i, 'four hexadecimal digits')
    value = value * 16 + digit
  }
  return value
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const lower = byte | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}

/** Writes the UTF-8 of a code point to `out` and returns its length in bytes. */
function writeCodePoint(codePoint: number, out: Uint8Array, offset: number): number {
  if (codePoint < 0x80) {
    out[offset] = codePoint
    return 1
  }
  const length = codePoint < 0x800 ? 2 : codePoint < 0x10000 ? 3 : 4
  let rest = codePoint
  for (let i = length - 1; i > 0; i--) {
    out[offset + i] = 0x80 | (rest & 0x3f)
    rest >>= 6
  }
  out[offset] = ((0xf00 >> length) & 0xff) | rest // as many leading ones as there are bytes
  return length
}
