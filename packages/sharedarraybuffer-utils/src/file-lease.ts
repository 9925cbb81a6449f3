import { fromNative, requireAddon } from './addon.ts'
import { Descriptor } from './descriptor.ts'

/**
 * A read lease on an open file (fcntl F_SETLEASE): whoever wants to open the file for writing, or to cut it, is held up by
 * the kernel while this process hears of it, for /proc/sys/fs/lease-break-time seconds at most (45 by default).
 *
 * It works on local file systems (ext4, xfs, btrfs, tmpfs), for the file's owner or with CAP_LEASE, and while nobody has the
 * file open for writing. Network file systems mostly refuse.
 */
export class FileLease implements Disposable {
  readonly path: string
  #lease: Descriptor | null = null
  readonly #onWriter: () => void
  #told = false
  #closed = false

  /**
   * @param file open; it stays the caller's
   * @param path how messages name it
   * @param onWriter called once, when somebody waits to write; close the lease to let them
   * @throws SharedMemoryError LEASE_REFUSED with the system's reason
   */
  constructor(file: Descriptor, path: string, onWriter: () => void) {
    this.path = path
    this.#onWriter = onWriter
    watch(this)
    try {
      this.#lease = new Descriptor(requireAddon().takeLease(file.handle))
    } catch (error) {
      this.close()
      throw fromNative(error, 'LEASE_REFUSED', `Cannot take a lease on "${path}"`)
    }
  }

  /** Lets writers go on. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    unwatch(this)
    this.#lease?.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /** @internal Nobody says which file it is, so every lease looks for itself. */
  look(): void {
    if (this.#closed || this.#told || this.#lease === null || requireAddon().leaseHolds(this.#lease.handle)) return
    this.#told = true
    this.#onWriter()
  }
}

/** Those of this thread, and what calls us when a writer waits for any of them. */
const leases = new Set<FileLease>()
let watching: object | null = null

function lookAtAll(): void {
  for (const lease of leases) lease.look()
}

function watch(lease: FileLease): void {
  watching ??= requireAddon().watchLeases(lookAtAll)
  leases.add(lease)
}

function unwatch(lease: FileLease): void {
  leases.delete(lease)
  if (leases.size > 0 || watching === null) return
  requireAddon().unwatchLeases(watching)
  watching = null
}
