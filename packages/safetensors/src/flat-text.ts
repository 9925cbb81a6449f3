/**
 * Copies a JSON string that is plain ASCII without an escape, up to its closing quote.
 *
 * @param at the first byte behind the opening quote
 * @returns the place of the closing quote, or -1 for any other string
 */
export function copyPlainText(json: Uint8Array, at: number, target: Uint8Array, to: number): number {
  for (let position = at; position < json.length; position++) {
    const byte = json[position]!
    if (byte === 0x22) return position
    if (byte < 0x20 || byte >= 0x80 || byte === 0x5c) return -1
    target[to++] = byte
  }
  return -1
}

/** Whether these bytes stand here. */
export function standsHere(bytes: Uint8Array, at: number, token: Uint8Array): boolean {
  for (let i = 0; i < token.length; i++) if (bytes[at + i] !== token[i]) return false
  return true
}
