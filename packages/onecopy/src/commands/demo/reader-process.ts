import { attach } from '@onecopy/client'
import { productHash } from './matrix-vector.ts'
import { type MemoryReading, readMemory } from './memory-reading.ts'
import { hashEverything, type ReadResult } from './read-everything.ts'

/** What a reading process tells the one that started it. */
export type ReaderMessage =
  | { readonly type: 'attached'; readonly attachMs: number; readonly memoryBefore: MemoryReading }
  | { readonly type: 'progress'; readonly readBytes: number }
  | { readonly type: 'read'; readonly result: ReadResult }
  | { readonly type: 'failed'; readonly message: string }

/** What it is told: to read everything, and to multiply this matrix. It ends when its connection does. */
export interface ReaderTask {
  readonly matrix: string | null
}

/** A message costs more than hashing a few megabytes. */
const PROGRESS_BYTES = 64 * 2 ** 20

process.on('disconnect', () => process.exit())

function tell(message: ReaderMessage): void {
  if (process.connected) process.send?.(message)
}

async function orFail(work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    tell({ type: 'failed', message: error instanceof Error ? error.message : String(error) })
  }
}

await orFail(async () => {
  const memoryBefore = readMemory()
  const started = performance.now()
  // The coordinator's socket and the checkpoint's name come from the environment, as `onecopy run` sets them.
  const checkpoint = await attach()
  const attachMs = performance.now() - started
  process.on('message', ({ matrix }: ReaderTask) =>
    orFail(async () => {
      const begun = performance.now()
      let readBytes = 0
      const tensorHashes = hashEverything(checkpoint, (byteLength) => {
        readBytes += byteLength
        if (readBytes >= PROGRESS_BYTES) tell({ type: 'progress', readBytes })
        if (readBytes >= PROGRESS_BYTES) readBytes = 0
      })
      const checksumMs = performance.now() - begun
      const product = matrix === null ? null : await productHash(checkpoint.tensor(matrix))
      const productMs = product === null ? null : performance.now() - begun - checksumMs
      tell({ type: 'read', result: { checksumMs, productMs, tensorHashes, productHash: product } })
    }),
  )
  tell({ type: 'attached', attachMs, memoryBefore })
})
