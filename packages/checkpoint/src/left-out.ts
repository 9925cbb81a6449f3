import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseSafetensors, quoteName } from '@onecopy/safetensors'
import { CheckpointError } from './errors.ts'
import { numberedShard, withoutAppleDouble } from './folder-contents.ts'

/** Names that a message lists at most. */
const MAX_LISTED = 20

/** The largest file that is looked into for tensors, in bytes: one without has a header of little but metadata. */
const MAX_EMPTY_BYTES = 2 ** 16

/**
 * Sees to it that an index names all shards of its checkpoint that stand beside it: tensors of one that it leaves out would
 * be missing without a word. Files that are no shards of the same checkpoint by their names do not matter, nor do shards
 * without tensors, which no index can name.
 * @param names of the folder's files, where they are known already
 * @throws CheckpointError SHARD_LEFT_OUT
 */
export function assertNoneLeftOut(indexPath: string, shardNames: readonly string[], names?: readonly string[]): void {
  const folder = dirname(indexPath)
  const own = new Set(shardNames)
  const others = (names ?? namesIn(folder)).filter((name) => name.endsWith('.safetensors') && !own.has(name))
  if (others.length === 0) return
  const series = new Set(shardNames.map(seriesOf))
  const isOne = (name: string): boolean => own.size === 0 || isOneOf(series, seriesOf(name))
  const leftOut = withoutAppleDouble(others)
    .filter((name) => isOne(name) && !isEmpty(join(folder, name)))
    .sort()
  const [first] = leftOut
  if (first === undefined) return
  const listed = leftOut.slice(0, MAX_LISTED).map((name) => quoteName(name))
  const more = leftOut.length > listed.length ? `, and ${leftOut.length - listed.length} more` : ''
  const named = own.size === 0 ? 'names no shard' : `names ${own.size} ${own.size === 1 ? 'shard' : 'shards'}`
  const message = `Index "${indexPath}" ${named}, and beside it stand others of the same checkpoint, whose tensors would be missing: ${listed.join(', ')}${more}; fetch the right index, move them away, or give the list of shards`
  throw new CheckpointError('SHARD_LEFT_OUT', message, { path: join(folder, first) })
}

function isEmpty(path: string): boolean {
  try {
    const stat = statSync(path)
    return stat.isFile() && stat.size <= MAX_EMPTY_BYTES && parseSafetensors(readFileSync(path)).tensors.size === 0
  } catch {
    return false
  }
}

/** Who may not list a folder may still open what is in it. */
function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

/** What the names of shards of one checkpoint have in common; null for a name without numbers. */
function seriesOf(name: string): string | null {
  const shard = numberedShard(name)
  return shard === null ? null : `${shard.count} ${shard.base}`
}

function isOneOf(series: ReadonlySet<string | null>, name: string | null): boolean {
  return name !== null && series.has(name)
}
