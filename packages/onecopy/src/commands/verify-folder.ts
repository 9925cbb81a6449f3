import { readdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import {
  CheckpointError,
  missingNumbers,
  type NumberedShard,
  numberedShard,
  saveRemains,
  shardCountOf,
} from '@onecopy/checkpoint'
import { quoteName } from '@onecopy/safetensors'
import { formatCount } from '../terminal/units.ts'
import type { CheckpointSummary } from './checkpoint-summary.ts'

/** Names that a note lists at most. */
const MAX_LISTED = 10

/**
 * Sees to it that no number is missing among shards that their names count.
 * @throws CheckpointError SHARD_NOT_FOUND
 */
export function assertAllNumbers({ label, shards }: CheckpointSummary, hasIndex: boolean): void {
  // Whoever names one shard of many wants that one looked at.
  if (shards.length < 2 && !hasIndex) return
  for (const series of seriesOf(shards.map(({ name }) => name)).values()) {
    const { base } = series[0]!
    const missing = missingNumbers(series)
    if (missing.length === 0) continue
    const numbers = missing.slice(0, MAX_LISTED).join(', ')
    const more = missing.length > MAX_LISTED ? ', …' : ''
    const message = `By their names there are ${shardCountOf(series)} shards of ${quoteName(base)}, and here are ${series.length}; missing: ${numbers}${more}`
    throw new CheckpointError('SHARD_NOT_FOUND', message, { path: label })
  }
}

/** What stands beside a checkpoint's files, and is no fault, but worth knowing: one sentence each. */
export async function folderNotes({ label, shards }: CheckpointSummary, hasIndex: boolean): Promise<string[]> {
  const notes: string[] = []
  const [shard] = shards
  const numbered = shards.length === 1 && shard !== undefined ? numberedShard(shard.name) : null
  if (numbered !== null && numbered.count > 1 && !hasIndex) {
    notes.push(`This is shard ${numbered.number} of ${numbered.count} alone; the others were not looked at`)
  }
  const folder = dirname(shard === undefined ? label : shard.path)
  const names = await readdir(folder).catch(() => [])
  const own = new Set(shards.map(({ name }) => name))
  const others = names.filter((name) => name.endsWith('.safetensors') && !name.startsWith('._') && !own.has(name))
  if (others.length > 0 && (hasIndex || label === folder)) {
    notes.push(
      `${formatCount(others.length, 'safetensors file')} beside those of the checkpoint, not looked at: ${listed(others)}`,
    )
  }
  const { saves, leftovers } = await saveRemains(folder).catch(() => ({ saves: [], leftovers: [] }))
  if (leftovers.length > 0) {
    notes.push(`${formatCount(leftovers.length, 'file')} left by an interrupted save: ${listed(leftovers)}`)
  }
  const saver = saves.find(({ running }) => running)
  if (saver !== undefined) notes.push(`Process ${saver.pid} is saving to this folder now`)
  const partial = names.filter((name) => /\.(?:incomplete|part|partial|crdownload|aria2)$/.test(name))
  if (partial.length > 0) {
    notes.push(`${formatCount(partial.length, 'file')} left by an interrupted download: ${listed(partial)}`)
  }
  return notes
}

/** Shards that count each other. */
function seriesOf(names: readonly string[]): Map<string, NumberedShard[]> {
  const series = new Map<string, NumberedShard[]>()
  for (const name of names) {
    const shard = numberedShard(name)
    if (shard === null) continue
    const key = `${shard.count} ${shard.base}`
    const known = series.get(key)
    if (known === undefined) series.set(key, [shard])
    else known.push(shard)
  }
  return series
}

function listed(names: readonly string[]): string {
  const shown = names
    .toSorted()
    .slice(0, MAX_LISTED)
    .map((name) => quoteName(name))
  return `${shown.join(', ')}${names.length > shown.length ? ', …' : ''}`
}
