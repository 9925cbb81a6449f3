import { addon, addonFailure, fromNative, systemFailure } from './addon.ts'
import { Descriptor } from './descriptor.ts'

/** What a lock may end with where its file system has none: old kernels and some network file systems and sandboxes. */
const NO_LOCKS: ReadonlySet<string> = new Set(['EINVAL', 'ENOLCK', 'ENOSYS', 'EOPNOTSUPP', 'ENOTSUP'])

/**
 * The lock of a file, for one holder at a time on this machine, and on all machines that share a network file system with
 * locks. The kernel frees it when its thread or process ends, whatever ends it; so does a collection when nobody has this any more.
 */
export class FileLock implements Disposable {
  readonly path: string
  readonly #file: Descriptor

  private constructor(path: string, file: Descriptor) {
    this.path = path
    this.#file = file
  }

  /**
   * Takes the lock, without waiting. Whoever holds it may remove the file before closing.
   * @param path of a file, which is made if it is missing; no symlink
   * @returns `held` when another holds it; the reason, as part of a sentence, where there are no locks
   * @throws SharedMemoryError LOCK_FAILED with the system's error
   */
  static take(path: string): FileLock | 'held' | { readonly unavailable: string } {
    if (addon === null) return { unavailable: `no native addon: ${addonFailure}` }
    try {
      const file = addon.takeFileLock(path)
      return file === null ? 'held' : new FileLock(path, new Descriptor(file))
    } catch (error) {
      const failure = systemFailure(error)
      if (failure?.syscall === 'fcntl' && NO_LOCKS.has(failure.errnoName)) {
        return { unavailable: `its file system has no locks (${failure.errnoName})` }
      }
      throw fromNative(error, 'LOCK_FAILED', `Cannot lock "${path}"`)
    }
  }

  /** Whether anybody holds the lock of a file; false where nobody can tell, or the file is not there. Takes nothing. */
  static isHeld(path: string): boolean {
    try {
      return addon?.isFileLocked(path) ?? false
    } catch (error) {
      if (systemFailure(error) === null) throw error
      return false
    }
  }

  /** Lets go of the lock; the file stays. Idempotent. */
  close(): void {
    this.#file.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
