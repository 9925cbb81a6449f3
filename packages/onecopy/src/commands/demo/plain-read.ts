import { createHash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import type { Checkpoint } from '@onecopy/checkpoint'
import { CommandError } from '../../errors.ts'

const READ_BYTES = 8 * 2 ** 20

/**
 * The sha256 of each tensor, in file order, from the files as any program reads them: what the shared views must show.
 * @throws CommandError FILE_ENDED_EARLY; the system's error when a file cannot be read
 */
export async function hashFiles(checkpoint: Checkpoint, onProgress: (doneBytes: number) => void): Promise<string[]> {
  const paths = new Map(checkpoint.shards.map(({ name, path }) => [name, path]))
  const buffer = new Uint8Array(READ_BYTES)
  const hashes: string[] = []
  let current: { readonly shard: string; readonly file: FileHandle } | undefined
  let doneBytes = 0
  try {
    for (const name of checkpoint.names) {
      const { shard, begin, end } = checkpoint.locate(name)
      const path = paths.get(shard)!
      if (current?.shard !== shard) {
        await current?.file.close()
        current = { shard, file: await open(path) }
      }
      const hash = createHash('sha256')
      for (let at = begin; at < end; ) {
        const { bytesRead } = await current.file.read(buffer, 0, Math.min(READ_BYTES, end - at), at)
        if (bytesRead === 0)
          throw new CommandError('FILE_ENDED_EARLY', `"${path}" ended at byte ${at} while it was read`)
        hash.update(buffer.subarray(0, bytesRead))
        at += bytesRead
        doneBytes += bytesRead
        onProgress(doneBytes)
      }
      hashes.push(hash.digest('hex'))
    }
  } finally {
    await current?.file.close()
  }
  return hashes
}
