import { createHash } from 'node:crypto'

/**
 * sha256 of all bytes of a tensor.
 * @param {import('@onecopy/checkpoint').TensorView} view
 */
export function checksum(view) {
  return createHash('sha256').update(new Uint8Array(view.buffer)).digest('hex')
}
