import type { BigIntStats } from 'node:fs'
import { lstat, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { CheckpointError } from './errors.ts'
import { syncFolder } from './new-file.ts'

/** A file that was written beside its own name. */
export interface WrittenFile {
  readonly name: string
  readonly state: BigIntStats // behind the last byte
}

/** What takes the place of what. */
export interface Replacement {
  readonly folder: string
  /** What is to be removed behind the names of the written files. */
  readonly suffix: string
  readonly shards: readonly WrittenFile[]
  /** Null where one file holds everything. */
  readonly index: WrittenFile | null
  readonly indexName: string
  /** Shards of an earlier save that have none of the new names. */
  readonly stale: readonly string[]
}

/** @throws CheckpointError SAVE_FAILED when a folder stands where one of the files must go */
export async function assertReplaceable(folder: string, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const path = join(folder, name)
    const found = await lstat(path).catch(() => null)
    if (!found?.isDirectory()) continue
    throw new CheckpointError('SAVE_FAILED', `Cannot save to "${folder}": "${name}" is a folder there`, {
      path: folder,
    })
  }
}

/**
 * Gives written files their names. The old index goes first and the new one comes last: in between a reader finds no index,
 * and so no checkpoint; with one, all shards are the old ones or all are the new ones.
 * @throws CheckpointError SAVE_FAILED when something else has taken a name meanwhile; the index is removed then
 */
export async function replaceFiles(replacement: Replacement): Promise<void> {
  const { folder, suffix, shards, index, indexName, stale } = replacement
  await rm(join(folder, indexName), { force: true })
  for (const { name } of shards) await rename(join(folder, name + suffix), join(folder, name))
  for (const name of stale) await rm(join(folder, name), { force: true })
  // Without locks (some network file systems) another save may have run at the same time.
  for (const file of shards) await assertInPlace(folder, file)
  if (index !== null) await rename(join(folder, index.name + suffix), join(folder, index.name))
  try {
    for (const file of index === null ? shards : [...shards, index]) await assertInPlace(folder, file)
  } catch (error) {
    if (index !== null) await rm(join(folder, indexName), { force: true })
    throw error
  }
  await syncFolder(folder)
}

async function assertInPlace(folder: string, { name, state }: WrittenFile): Promise<void> {
  const path = join(folder, name)
  const found = await lstat(path, { bigint: true }).catch(() => null)
  if (found?.dev === state.dev && found.ino === state.ino) return
  // File systems over object stores rename by copying.
  if (found?.size === state.size && found.mtimeNs === state.mtimeNs) return
  const what = found === null ? 'was removed' : 'was replaced by another process'
  throw new CheckpointError(
    'SAVE_FAILED',
    `"${path}" ${what} while it was saved; the files in "${folder}" may be of two saves: save again`,
    { path },
  )
}
