import type { Checkpoint, TensorView } from '@onecopy/checkpoint'
import { piecesOf } from '../tensor-pieces.ts'

/** The smallest page that Linux has. */
const PAGE_BYTES = 4096

/** Keeps the reads from being optimised away. */
const sink = new Float64Array(1)

/** Reads a byte of every page. */
export function touchPages(bytes: Uint8Array): void {
  let sum = bytes.at(-1) ?? 0 // of a last page that is only begun
  for (let at = 0; at < bytes.length; at += PAGE_BYTES) sum += bytes[at]!
  sink[0]! += sum
}

export function touchTensor({ buffer }: TensorView): void {
  for (const piece of piecesOf(buffer)) touchPages(piece)
}

/** Touches tensors in file order, as a forward pass does. @param count the first so many. @default all */
export function touchTensors(checkpoint: Checkpoint, count: number = checkpoint.tensorCount): void {
  for (let at = 0; at < count; at++) touchTensor(checkpoint.tensor(checkpoint.names[at]!))
}
