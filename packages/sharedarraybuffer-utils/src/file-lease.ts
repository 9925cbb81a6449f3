import { closeSync, openSync } from 'node:fs'
import { fromNative, requireAddon } from './addon.ts'

/**
 * A read lease on an open file (fcntl F_SETLEASE): whoever wants to open the file for writing, or to cut it, is held up by
 * the kernel while this process hears of it, for /proc/sys/fs/lease-break-time seconds at most (45 by default).
 *
 * It works on local file systems (ext4, xfs, btrfs, tmpfs), for the file's owner or with CAP_LEASE, and while nobody has the
 * file open for writing. Network file systems mostly refuse.
 */
export class FileLease implements Disposable {
  readonly path: string
  readonly #descriptor: number
  readonly #onWriter: () => void
  #told = false
  #closed = false

  /**
   * @param descriptor an open file; it stays the caller's
   * @param path how messages name it
   * @param onWriter called once, when somebody waits to write; close the lease to let them
   * @throws SharedMemoryError LEASE_REFUSED with the system's reason
   */
  constructor(descriptor: number, path: string, onWriter: () => void) {
    this.path = path
    this.#onWriter = onWriter
    // An open file of its own: a lease belongs to the open file, and others may hold descriptors of the caller's.
    this.#descriptor = openSync(`/proc/self/fd/${descriptor}`, 'r')
    // Without a listener the signal would end the process.
    watch(this)
    try {
      requireAddon().takeLease(this.#descriptor)
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
    closeSync(this.#descriptor)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /** @internal The signal names no file, so every lease looks for itself. */
  look(): void {
    if (this.#closed || this.#told || requireAddon().leaseHolds(this.#descriptor)) return
    this.#told = true
    this.#onWriter()
  }
}

const leases = new Set<FileLease>()

function lookAtAll(): void {
  for (const lease of leases) lease.look()
}

function watch(lease: FileLease): void {
  if (leases.size === 0) process.on('SIGIO', lookAtAll)
  leases.add(lease)
}

function unwatch(lease: FileLease): void {
  leases.delete(lease)
  // A signal that is on its way when the last lease goes must still find a listener.
  if (leases.size === 0) setImmediate(() => leases.size === 0 && process.off('SIGIO', lookAtAll))
}
