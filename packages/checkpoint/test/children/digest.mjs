// @ts-check
import { createHash } from 'node:crypto'

/**
 * What a checkpoint holds: for each tensor its dtype, shape and the sha256 of its bytes.
 *
 * @param {import('../../dist/index.js').Checkpoint} checkpoint
 */
export function digest(checkpoint) {
  return checkpoint.names.map((name) => {
    const { dtype, shape, buffer } = checkpoint.tensor(name)
    return { name, dtype, shape: [...shape], sha256: createHash('sha256').update(new Uint8Array(buffer)).digest('hex') }
  })
}
