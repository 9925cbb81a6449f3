import { createHash } from 'node:crypto'
import type { Checkpoint } from '@onecopy/checkpoint'
import { piecesOf } from '../tensor-pieces.ts'

/** What a thread or a process read and computed, and how long it took. */
export interface ReadResult {
  readonly checksumMs: number
  /** Null where the checkpoint has no matrix to multiply. */
  readonly productMs: number | null
  /** The sha256 of each tensor, in file order. */
  readonly tensorHashes: readonly string[]
  readonly productHash: string | null
}

/** The sha256 of each tensor in file order, from the shared memory. */
export function hashEverything(checkpoint: Checkpoint, onPiece: (byteLength: number) => void): string[] {
  return checkpoint.names.map((name) => {
    const hash = createHash('sha256')
    for (const piece of piecesOf(checkpoint.tensor(name).buffer)) {
      hash.update(piece)
      onPiece(piece.byteLength)
    }
    return hash.digest('hex')
  })
}
