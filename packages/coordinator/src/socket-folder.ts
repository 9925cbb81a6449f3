import { chmodSync, chownSync, lstatSync, mkdirSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { CoordinatorError } from '@onecopy/protocol'

/** Bits of a folder's mode that would let others put a socket of their own in its place. */
const WRITABLE_BY_OTHERS = 0o022

/**
 * Makes the folder of a socket, for its owner alone, or checks the one that is there: owned by this user or root, not
 * writable by anybody else, and not a symlink, which could be turned elsewhere.
 * @param group may pass through a folder that is made here
 * @throws CoordinatorError SOCKET_UNSAFE saying what was found and what must be
 */
export function prepareSocketFolder(socket: string, group?: number): void {
  const folder = dirname(resolve(socket))
  makeFolder(folder, group)
  const found = lstatSync(folder)
  const uid = process.geteuid?.() ?? found.uid
  const problem = found.isSymbolicLink()
    ? 'is a symlink'
    : !found.isDirectory()
      ? 'is not a folder'
      : found.uid !== uid && found.uid !== 0
        ? `belongs to user ${found.uid}`
        : (found.mode & WRITABLE_BY_OTHERS) !== 0
          ? `has mode 0${(found.mode & 0o7777).toString(8)}`
          : null
  if (problem === null) return
  const message = `Socket folder "${folder}" ${problem}; it must be a folder of user ${uid} that only its owner can write to (chmod 700)`
  throw new CoordinatorError('SOCKET_UNSAFE', message)
}

function makeFolder(folder: string, group: number | undefined): void {
  try {
    const made = mkdirSync(folder, { recursive: true, mode: 0o700 }) !== undefined
    if (!made || group === undefined) return
    chownSync(folder, -1, group)
    chmodSync(folder, 0o710)
  } catch (cause) {
    // What is in its place is looked at afterwards.
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return
    const reason = cause instanceof Error ? cause.message : String(cause)
    const message = `Cannot make the socket's folder "${folder}": ${reason}`
    throw new CoordinatorError('SOCKET_UNSAFE', message, { path: folder, cause })
  }
}
