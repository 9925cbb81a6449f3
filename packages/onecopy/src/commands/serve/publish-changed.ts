import { openHeaders } from '@onecopy/checkpoint'
import type { Coordinator } from '@onecopy/coordinator'
import { currentVersion } from '../status/current-version.ts'

/**
 * Publishes again every checkpoint whose files are no longer those that are served; the others stay as they are.
 * @param failed is told of those that cannot be opened or loaded; their old versions go on serving
 * @returns names and numbers of the new versions
 */
export async function publishChanged(
  coordinator: Coordinator,
  failed: (error: unknown) => void,
): Promise<readonly string[]> {
  const published: string[] = []
  for (const checkpoint of (await coordinator.status()).checkpoints) {
    const { name, source, backing, pinned } = checkpoint
    const current = currentVersion(checkpoint)
    if (current === undefined) continue
    try {
      if ((await fingerprintOf(source)) === current.fingerprint) continue
      const load = current.state === 'unloaded' ? 'on-demand' : 'now'
      published.push(`${name}@${await coordinator.publish(name, source, { backing, pinned, load })}`)
    } catch (error) {
      failed(error)
    }
  }
  return published
}

/** Changes with the headers and with every file's identity, size and time of change; no tensor is read for it. */
async function fingerprintOf(source: string | readonly string[]): Promise<string> {
  using checkpoint = await openHeaders(source)
  return checkpoint.fingerprint
}
