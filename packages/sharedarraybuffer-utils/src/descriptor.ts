import { closeSync, constants, openSync, statSync } from 'node:fs'
import { addon, requireAddon, systemError } from './addon.ts'
import { SharedMemoryError } from './errors.ts'

/** What a descriptor is without the addon. The thread closes it when it ends, as it does with all that `node:fs` opened. */
interface PlainFile {
  readonly number: number
  owners: number
}

function plainFile(number: number): PlainFile {
  return { number, owners: 1 }
}

/**
 * An open file, socket or memory of this process. It is closed by `close`, by the garbage collector, and by the end of the
 * thread that has it, whatever ends that thread and whenever: `finally` does not run in a thread that is terminated, so no
 * descriptor may be a number that only JavaScript knows.
 */
export class Descriptor implements Disposable {
  readonly #file: object
  #closed = false

  /** @internal Descriptors come from what opens something. */
  constructor(file: object) {
    this.#file = file
  }

  get closed(): boolean {
    return this.#closed
  }

  /**
   * For calls that take a number. It is this object's to close, and may be another file's once it is closed.
   * @throws SharedMemoryError DESCRIPTOR_CLOSED
   */
  get number(): number {
    const file = this.handle
    return addon === null ? (file as PlainFile).number : addon.descriptorNumber(file)
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (addon !== null) addon.closeDescriptor(this.#file)
    else if (--(this.#file as PlainFile).owners === 0) closeSync((this.#file as PlainFile).number)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /** @internal A further owner: the file stays open until all are closed. */
  share(): Descriptor {
    const file = this.handle
    if (addon !== null) return new Descriptor(addon.shareDescriptor(file))
    ;(file as PlainFile).owners++
    return new Descriptor(file)
  }

  /** @internal What native code takes. */
  get handle(): object {
    if (this.#closed) throw new SharedMemoryError('DESCRIPTOR_CLOSED', 'This descriptor was closed')
    return this.#file
  }
}

export function closeDescriptors(descriptors: Iterable<Descriptor>): void {
  for (const descriptor of descriptors) descriptor.close()
}

/** Takes over an open file of which only the number is known, such as one that a service manager handed over. */
export function adoptDescriptor(number: number): Descriptor {
  try {
    return new Descriptor(addon === null ? plainFile(number) : addon.adoptDescriptor(number))
  } catch (error) {
    throw systemError(error)
  }
}

/**
 * Opens a regular file for reading. Never waits on a FIFO or opens a device.
 * @throws SharedMemoryError FILE_NOT_REGULAR; the system's own error (ENOENT, EACCES, …) otherwise
 */
export function openRegularFile(path: string): Descriptor {
  const kind = statSync(path)
  if (!kind.isFile()) {
    const found = kind.isDirectory() ? 'a folder' : kind.isFIFO() ? 'a FIFO' : kind.isSocket() ? 'a socket' : 'a device'
    throw new SharedMemoryError('FILE_NOT_REGULAR', `"${path}" is ${found}; it must be a regular file`, { path })
  }
  // Should it become a FIFO after this look, the open must not hang.
  return openNow(path, constants.O_RDONLY | constants.O_NONBLOCK)
}

/** A folder, for what can be done to an open one, such as syncing it. @throws the system's own error */
export function openFolder(path: string): Descriptor {
  return openNow(path, constants.O_RDONLY | constants.O_DIRECTORY)
}

/** A file for writing, which is not there yet. @throws the system's own error, EEXIST where it is */
export function createFile(path: string): Descriptor {
  return openNow(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL)
}

function openNow(path: string, flags: number): Descriptor {
  if (addon === null) return new Descriptor(plainFile(openSync(path, flags, 0o666)))
  try {
    return new Descriptor(addon.openFile(path, flags))
  } catch (error) {
    throw systemError(error)
  }
}

/**
 * The same file as an open file of its own; null where it cannot be had.
 * @param direct past the page cache, which not every file system can
 */
export function reopen(file: Descriptor, direct = false): Descriptor | null {
  const handle = requireAddon().reopenDescriptor(file.handle, direct)
  return handle === null ? null : new Descriptor(handle)
}
