import type { CheckpointStatus, VersionStatus } from '@onecopy/protocol'

/** The version that new clients get, or undefined for a checkpoint that is retired or not ready for the first time. */
export function currentVersion({ versions }: CheckpointStatus): VersionStatus | undefined {
  return versions.find(({ state }) => state === 'ready' || state === 'unloaded')
}
