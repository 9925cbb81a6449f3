import { stat } from 'node:fs/promises'
import type { Checkpoint } from '@onecopy/checkpoint'
import type { CheckpointStatus, VersionStatus } from '@onecopy/protocol'
import type { Entry, Registry } from './registry.ts'
import type { Version } from './version.ts'

/** Every checkpoint of a registry, as status shows it. */
export async function checkpointStatuses(registry: Registry): Promise<CheckpointStatus[]> {
  return Promise.all([...registry.entries].map(describeEntry))
}

async function describeEntry({ name, source, backing, pinned, versions }: Entry): Promise<CheckpointStatus> {
  return { name, source, backing, pinned, versions: await Promise.all(versions.map(describeVersion)) }
}

async function describeVersion(version: Version): Promise<VersionStatus> {
  const checkpoint = version.memory?.checkpoint
  return {
    version: version.number,
    state: version.state,
    fingerprint: version.fingerprint,
    byteLength: version.byteLength,
    heldBytes: version.heldBytes + version.arenaBytes,
    arenaBytes: version.arenaBytes,
    residentBytes: checkpoint?.residency().residentBytes ?? null,
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
