import { stat } from 'node:fs/promises'
import type { Checkpoint } from '@onecopy/checkpoint'
import type { CheckpointStatus, VersionStatus } from '@onecopy/protocol'
import type { Registry } from './registry.ts'
import type { ResidencyMeter } from './residency-meter.ts'
import { inTurns } from './turns.ts'
import type { Version } from './version.ts'

/**
 * Every checkpoint of a registry, as status shows it. However many there are, others get their turn in between.
 * @param meter measures what is in RAM; null leaves it out
 */
export function checkpointStatuses(registry: Registry, meter: ResidencyMeter | null): Promise<CheckpointStatus[]> {
  // As they were asked for: in which order several that are loaded at a time are ready says nothing.
  const entries = [...registry.entries].sort((a, b) => a.firstTurn - b.firstTurn)
  return inTurns(entries, async ({ name, source, backing, pinned, versions }) => ({
    name,
    source,
    backing,
    pinned,
    versions: await inTurns([...versions], (version) => describeVersion(version, meter)),
  }))
}

async function describeVersion(version: Version, meter: ResidencyMeter | null): Promise<VersionStatus> {
  const checkpoint = version.memory?.checkpoint
  const residentBytes = (await meter?.residentBytes(version)) ?? null
  return {
    version: version.number,
    state: version.state,
    fingerprint: version.fingerprint,
    byteLength: version.byteLength,
    heldBytes: version.heldBytes + version.arenaBytes,
    arenaBytes: version.arenaBytes,
    residentBytes,
    shards: checkpoint?.shards.length ?? 0,
    tensors: checkpoint?.tensorCount ?? 0,
    leases: version.leases.size,
    since: version.since.toISOString(),
    changed: checkpoint === undefined ? false : await filesChanged(checkpoint),
  }
}

/** Whether a shard's path no longer leads to the file that was opened, or that file was written to since. */
export async function filesChanged(checkpoint: Checkpoint): Promise<boolean> {
  const same = await Promise.all(
    checkpoint.shards.map(async ({ path, inode, modifiedNs, byteLength }) => {
      const now = await stat(path, { bigint: true }).catch(() => null)
      return now !== null && now.ino === inode && now.mtimeNs === modifiedNs && now.size === BigInt(byteLength)
    }),
  )
  return same.includes(false)
}
