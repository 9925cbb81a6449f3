import { FileLease } from '@onecopy/sharedarraybuffer-utils'
import type { Registry } from './registry.ts'
import type { Version } from './version.ts'

/** What to do when somebody is about to write to a file that clients have mapped. */
export type WriterPolicy = 'ignore' | 'warn' | 'seal'

/** What the guard tells. */
export type GuardEvent =
  | { readonly type: 'writer'; readonly checkpoint: string; readonly version: number; readonly path: string }
  | { readonly type: 'unguarded'; readonly checkpoint: string; readonly version: number; readonly error: Error }

/**
 * Hears of writers before they change a mapped file: versions with `file` backing show whatever is on the disk, and a file
 * that is cut ends every process that touches the lost pages. A read lease holds the writer up (see FileLease for where
 * that works) until the guard has told, and, with the policy `seal`, until a sealed copy is published as a further version,
 * which clients are told of as of any other.
 */
export class FileGuard {
  readonly #registry: Registry
  readonly #policy: WriterPolicy
  readonly #tell: (event: GuardEvent) => void
  readonly #leases = new Map<Version, FileLease[]>()

  constructor(registry: Registry, policy: WriterPolicy, tell: (event: GuardEvent) => void) {
    this.#registry = registry
    this.#policy = policy
    this.#tell = tell
    if (policy === 'ignore') return
    registry.on('event', (event) => {
      if (event.type === 'loaded') this.#guard(event.version)
      else if (event.type === 'evicted' || event.type === 'released') this.#letGo(event.version)
    })
  }

  close(): void {
    for (const version of this.#leases.keys()) this.#letGo(version)
  }

  #guard(version: Version): void {
    const checkpoint = version.memory?.checkpoint
    if (checkpoint === undefined || checkpoint.backing !== 'file') return
    const leases: FileLease[] = []
    this.#leases.set(version, leases)
    const descriptors = checkpoint.descriptors()
    for (const [at, { path }] of checkpoint.shards.entries()) {
      try {
        leases.push(new FileLease(descriptors[at]!, path, () => void this.#onWriter(version, path)))
      } catch (error) {
        // One file without a lease mostly means that none of its folder has one.
        this.#tell({ type: 'unguarded', ...nameOf(version), error: error as Error })
        return
      }
    }
  }

  async #onWriter(version: Version, path: string): Promise<void> {
    this.#tell({ type: 'writer', ...nameOf(version), path })
    try {
      const entry = this.#registry.entry(version.checkpoint)
      if (this.#policy === 'seal' && entry !== undefined && entry.current === version) {
        const { source, pinned, priority } = entry
        await this.#registry.publish(version.checkpoint, source, { backing: 'sealed', pinned, priority })
      }
    } catch (error) {
      this.#tell({ type: 'unguarded', ...nameOf(version), error: error as Error })
    } finally {
      this.#letGo(version)
    }
  }

  #letGo(version: Version): void {
    for (const lease of this.#leases.get(version) ?? []) lease.close()
    this.#leases.delete(version)
  }
}

function nameOf({ checkpoint, number }: Version): { checkpoint: string; version: number } {
  return { checkpoint, version: number }
}
