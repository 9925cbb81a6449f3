/** Bytes looked at in one go: a few milliseconds of work, so that progress shows and signals are heard in between. */
const PIECE_BYTES = 8 * 2 ** 20

/** A buffer in pieces, in order; whole tensors may be longer than a Uint8Array of Node 20. */
export function* piecesOf(buffer: SharedArrayBuffer): Generator<Uint8Array<SharedArrayBuffer>, void> {
  for (let at = 0; at < buffer.byteLength; at += PIECE_BYTES) {
    yield new Uint8Array(buffer, at, Math.min(PIECE_BYTES, buffer.byteLength - at))
  }
}
