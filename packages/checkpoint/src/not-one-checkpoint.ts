import { quoteName } from '@onecopy/safetensors'
import { CheckpointError } from './errors.ts'
import { missingNumbers, type NumberedShard, shardCountOf, type WeightFiles } from './folder-contents.ts'

/** Names that a message lists at most. */
const MAX_LISTED = 5

/**
 * The error for a folder in which no file or more than one may be the checkpoint.
 * @param groups all weights that are there
 * @param wanted those that may be meant
 */
export function notOne(
  folder: string,
  groups: readonly WeightFiles[],
  wanted: readonly WeightFiles[],
  variant: string | undefined,
): CheckpointError {
  const kind = variant === undefined ? 'checkpoint' : `checkpoint of variant ${quoteName(variant)}`
  if (groups.length === 0) {
    const message = `Folder "${folder}" holds no ${kind}: no .safetensors file and no .safetensors.index.json`
    return new CheckpointError('SOURCE_NOT_FOUND', message, { path: folder })
  }
  const candidates = groups.flatMap(namesOf).sort()
  const refused = (message: string): CheckpointError => {
    return new CheckpointError('SOURCE_AMBIGUOUS', `Folder "${folder}" ${message}`, { path: folder, candidates })
  }
  const [only] = wanted
  if (wanted.length === 1 && only !== undefined) return refused(shardsWithoutIndex(only.shards))
  const variants = variantsOf(wanted.length > 0 ? wanted : groups)
  if (variants !== null) {
    const none = variant === undefined ? 'holds several variants' : `holds no ${kind}`
    return refused(`${none}; choose with the option variant: ${variants.map((name) => quoteName(name)).join(', ')}`)
  }
  const how = `name the index, the file or the list of shards${variant === undefined ? ', or a variant' : ''}`
  return refused(
    `holds no ${kind} with one of the usual names; it has ${candidates.length} other files (${listed(candidates)}): ${how}`,
  )
}

/** Numbered shards are not put together by their names: an interrupted save leaves those of two. */
function shardsWithoutIndex(shards: readonly NumberedShard[]): string {
  const counts = new Set(shards.map(({ count }) => count))
  const names = shards.map(({ name }) => name)
  const missing = missingNumbers(shards)
  if (counts.size > 1)
    return `holds shards of ${counts.size} checkpoints (${listed(names)}), and no index: name the list of shards`
  if (missing.length === 0) {
    return `holds ${shards.length} shards (${listed(names)}), and not the index that belongs to them: fetch it, or name the list of shards`
  }
  const numbers = missing.slice(0, MAX_LISTED * 4).join(', ')
  const more = missing.length > MAX_LISTED * 4 ? ', …' : ''
  return `holds ${shards.length} of ${shardCountOf(shards)} shards (${listed(names)}), and no index; missing: ${missing.length === 1 ? 'number' : 'numbers'} ${numbers}${more}`
}

/** The variants to choose from, where the groups differ in nothing else; null where they differ in more. */
function variantsOf(groups: readonly WeightFiles[]): readonly string[] | null {
  const variants = groups.map(({ base }) => /^(?<stem>.+?)\.(?<variant>.+)$/s.exec(base)?.groups)
  const [first] = variants
  const same = variants.every((parts) => parts !== undefined && parts['stem'] === first?.['stem'])
  return same ? variants.map((parts) => parts!['variant']!) : null
}

function namesOf({ single, indexes, shards }: WeightFiles): readonly string[] {
  return [...(single === null ? [] : [single]), ...indexes, ...shards.map(({ name }) => name)]
}

function listed(names: readonly string[]): string {
  return `${names
    .slice(0, MAX_LISTED)
    .map((name) => quoteName(name))
    .join(', ')}${names.length > MAX_LISTED ? ', …' : ''}`
}
