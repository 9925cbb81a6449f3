import { stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import type { SafetensorsError } from '@onecopy/safetensors'
import { CheckpointError, systemCode } from './errors.ts'
import type { OpenShard } from './open-shard.ts'
import { familyOf, type SaveRemains, saveRemains, saverName, type UnfinishedSave } from './save-mark.ts'

/** A save between its first file and its last, and where it is. */
interface HalfSave {
  readonly folder: string
  readonly save: UnfinishedSave
  readonly temporary: readonly string[]
}

/**
 * What a failure to open really is, where the files are those of a save that runs or was killed.
 * @returns CheckpointError SAVE_INTERRUPTED or CHECKPOINT_CHANGED with the failure as its cause, else the failure itself
 */
export async function explainUnfinished(error: CheckpointError | SafetensorsError): Promise<Error> {
  if (error.path === undefined) return error
  const half = await halfSaveAt(error.path)
  return half === null ? error : unfinished(half, error)
}

/**
 * Sees to it that shards that were opened without an index are those of one save: with an index, that is what it is for.
 * @throws CheckpointError SAVE_INTERRUPTED, CHECKPOINT_CHANGED
 */
export async function assertOneSave(shards: readonly OpenShard[]): Promise<void> {
  for (const folder of new Set(shards.map(({ path }) => dirname(path)))) {
    const inside = shards.filter(({ path }) => dirname(path) === folder)
    const families = new Set(inside.map(({ path }) => familyOf(basename(path))))
    const half = await halfSaveIn(folder, (family) => families.has(family))
    if (half !== null) throw unfinished(half)
  }
  for (const { path, inode } of shards) {
    const now = await stat(path, { bigint: true }).catch(() => null)
    if (now?.ino === inode) continue
    const message = `Shard "${path}" was replaced while the others were opened; open the checkpoint again`
    throw new CheckpointError('CHECKPOINT_CHANGED', message, { path })
  }
}

/** At a folder any save counts, at a file those of its own family. */
async function halfSaveAt(path: string): Promise<HalfSave | null> {
  const family = familyOf(basename(path))
  return (await halfSaveIn(path, () => true)) ?? halfSaveIn(dirname(path), (other) => other === family)
}

async function halfSaveIn(folder: string, counts: (family: string) => boolean): Promise<HalfSave | null> {
  const remains = await saveRemains(folder).catch((error): SaveRemains | null => {
    if (systemCode(error) === undefined) throw error
    return null // a file, or nothing that one can list
  })
  const save = remains?.saves.find(({ whole, family }) => !whole && counts(family))
  if (remains == null || save === undefined) return null
  return { folder, save, temporary: remains.leftovers.filter((name) => name.endsWith(save.suffix)) }
}

function unfinished({ folder, save, temporary }: HalfSave, cause?: Error): CheckpointError {
  const fields = { path: folder, pid: save.pid, ...(cause && { cause }) }
  const who = saverName(save)
  if (save.running) {
    const message = `Checkpoint in "${folder}" is being replaced by a save of ${who}; open it again when that is done`
    return new CheckpointError('CHECKPOINT_CHANGED', message, fields)
  }
  const rest =
    temporary.length === 0 ? '' : `, or finish it: ${temporary.length} of its files still end in "${save.suffix}"`
  const message = `An interrupted save left the files of "${save.family}" in "${folder}" half replaced (${who}): save again${rest}`
  return new CheckpointError('SAVE_INTERRUPTED', message, fields)
}
