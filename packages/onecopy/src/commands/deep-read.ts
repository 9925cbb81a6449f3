import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import type { Checkpoint, TensorView } from '@onecopy/checkpoint'
import type { BlobCheck } from './blob-check.ts'
import { piecesOf } from './tensor-pieces.ts'

/** Tensors brought into RAM together while those before them are hashed. */
const BATCH_BYTES = 128 * 2 ** 20

/** The checksum of one tensor. */
export interface TensorHash {
  readonly name: string
  readonly byteLength: number
  readonly sha256: string
}

/**
 * Reads every byte of every tensor once and hashes it, in file order. Pages are brought in before they are touched, so a
 * block that the disk cannot read is an error and not the end of the process.
 * @throws SharedMemoryError RESIDENCY_FAILED naming the file and the bytes; CommandError BLOB_DAMAGED
 */
export async function hashTensors(
  checkpoint: Checkpoint,
  onProgress: (doneBytes: number) => void,
  blobs: BlobCheck,
): Promise<TensorHash[]> {
  const hashes: TensorHash[] = []
  const batches = [...batchesOf(checkpoint)]
  let doneBytes = 0
  let coming = bringIn(checkpoint, batches[0])
  for (const [at, batch] of batches.entries()) {
    await coming
    coming = bringIn(checkpoint, batches[at + 1])
    // Awaited at the next turn; a failure before that must not count as unhandled.
    coming.catch(() => {})
    for (const { name, byteLength, buffer } of batch) {
      const hash = createHash('sha256')
      await blobs.nextTensor()
      for (const piece of piecesOf(buffer)) {
        hash.update(piece)
        blobs.update(piece)
        doneBytes += piece.byteLength
        onProgress(doneBytes)
        await setImmediate()
      }
      hashes.push({ name, byteLength, sha256: hash.digest('hex') })
    }
  }
  await blobs.end()
  return hashes
}

function* batchesOf(checkpoint: Checkpoint): Generator<TensorView[], void> {
  let batch: TensorView[] = []
  let batchBytes = 0
  for (const view of checkpoint.tensors()) {
    if (batch.length > 0 && batchBytes + view.byteLength > BATCH_BYTES) {
      yield batch
      batch = []
      batchBytes = 0
    }
    batch.push(view)
    batchBytes += view.byteLength
  }
  yield batch
}

async function bringIn(checkpoint: Checkpoint, batch: readonly TensorView[] = []): Promise<void> {
  if (batch.length > 0) await checkpoint.prefetch({ tensors: batch.map(({ name }) => name) })
}
