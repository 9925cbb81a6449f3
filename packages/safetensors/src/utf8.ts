/**
 * The position of the first byte that does not belong to strictly valid UTF-8, or -1 when there is none. Overlong forms,
 * surrogates and code points above U+10FFFF are invalid (the Unicode Standard, table 3-7); a byte order mark is valid.
 */
export function findInvalidUtf8(bytes: Uint8Array): number {
  const end = bytes.length
  // Headers are nearly all ASCII: sixteen bytes at a time is several times as fast as one. Words need aligned addresses.
  const aligned = Math.min(-bytes.byteOffset & 3, end)
  const words = new Int32Array(bytes.buffer, aligned === end ? 0 : bytes.byteOffset + aligned, (end - aligned) >> 2)
  let position = 0
  while (position < end) {
    if (bytes[position]! < 0x80) {
      position++
      if ((position - aligned) % 4 === 0) position = aligned + skipAsciiWords(words, (position - aligned) / 4) * 4
      continue
    }
    const length = sequenceLength(bytes, position)
    if (length === 0) return position
    position += length
  }
  return -1
}

/** Steps over groups of four words without a byte above 0x7f. */
function skipAsciiWords(words: Int32Array, start: number): number {
  let i = start
  while (i + 4 <= words.length && ((words[i]! | words[i + 1]! | words[i + 2]! | words[i + 3]!) & 0x80808080) === 0) {
    i += 4
  }
  return i
}

/** The length of the sequence of two to four bytes at `position`, or 0 when it is invalid or cut off. */
function sequenceLength(bytes: Uint8Array, position: number): number {
  const lead = bytes[position]!
  const second = bytes[position + 1] ?? 0
  if (lead >= 0xc2 && lead <= 0xdf) return isContinuation(second) ? 2 : 0
  if (lead >= 0xe0 && lead <= 0xef) {
    const low = lead === 0xe0 ? 0xa0 : 0x80
    const high = lead === 0xed ? 0x9f : 0xbf
    return second >= low && second <= high && isContinuation(bytes[position + 2]) ? 3 : 0
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    const low = lead === 0xf0 ? 0x90 : 0x80
    const high = lead === 0xf4 ? 0x8f : 0xbf
    const valid = second >= low && second <= high
    return valid && isContinuation(bytes[position + 2]) && isContinuation(bytes[position + 3]) ? 4 : 0
  }
  return 0
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80
}

/** Orders strings by their UTF-8 bytes, which is by code point; JavaScript's `<` orders by UTF-16 code unit. */
export function compareUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x !== y) return codePointRank(x) - codePointRank(y)
  }
  return a.length - b.length
}

/** Lifts surrogates, which stand for code points above U+FFFF, over U+E000 to U+FFFF. */
function codePointRank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit
}

/** Whether UTF-8 can represent the string: it has no surrogate without its partner. */
export function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text)
}
