import { chmodSync, chownSync, lstatSync, mkdirSync, readdirSync, realpathSync, type Stats, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { CoordinatorError } from '@onecopy/protocol'
import type { Access } from './access.ts'

/** Bits of a folder's mode that would let others put a socket of their own in its place. */
const WRITABLE_BY_OTHERS = 0o022

/** What a coordinator puts beside its socket. */
const OWN_FILES = /\.(?:lock|ledger|ledger\.new)$/

/**
 * Makes the folder of a socket, or checks the one that is there: owned by this user or root, not writable by anybody else, and
 * not a symlink, which could be turned elsewhere. Whoever may use the socket is let through a folder that is made here, or that
 * is this user's and holds nothing but sockets; any other folder must let them through already, and so must those above.
 * @throws CoordinatorError SOCKET_UNSAFE saying what was found and what must be
 */
export function prepareSocketFolder(socket: string, access: Access): void {
  const folder = dirname(resolve(socket))
  const missing = missingFolders(folder)
  requireWayTo(dirname(missing[0] ?? folder), access)
  // One by one: where no folder can be made, as in /proc, Node's mkdirSync with `recursive` tries for ever.
  for (const each of missing.length > 0 ? missing : [folder]) makeFolder(each)
  const found = lstatSync(folder)
  const uid = process.geteuid?.() ?? found.uid
  const problem = found.isSymbolicLink()
    ? 'is a symlink'
    : !found.isDirectory()
      ? 'is not a folder'
      : found.uid !== uid && found.uid !== 0
        ? `belongs to user ${found.uid}`
        : (found.mode & WRITABLE_BY_OTHERS) !== 0
          ? `has mode 0${octal(found)}`
          : null
  if (problem !== null) {
    const must = `it must be a folder of user ${uid} that only its owner can write to (chmod 700)`
    throw new CoordinatorError('SOCKET_UNSAFE', `Socket folder "${folder}" ${problem}; ${must}`, { path: folder })
  }
  for (const made of missing) letThrough(made, access)
  if (whoIsKeptOut(found, access) !== null && missing.length === 0) {
    if (found.uid !== uid || !holdsOnlySockets(folder, uid)) throw inTheWay(folder, found, access)
    letThrough(folder, access)
  }
}

/** The folder and those above it that are not there, the outermost first. */
function missingFolders(folder: string): string[] {
  return isMissing(folder) && dirname(folder) !== folder ? [...missingFolders(dirname(folder)), folder] : []
}

function isMissing(folder: string): boolean {
  try {
    return lstatSync(folder, { throwIfNoEntry: false }) === undefined
  } catch {
    return false // What is wrong with it is said when the folder is made.
  }
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { mode: 0o700 })
  } catch (cause) {
    // What is in its place is looked at afterwards.
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return
    throw failed(`Cannot make the socket's folder "${folder}"`, folder, cause)
  }
}

/** Sees to it that a folder and all above it let those in who may use the socket. */
function requireWayTo(folder: string, access: Access): void {
  if (nobodyElse(access)) return
  let real: string
  try {
    real = realpathSync(folder)
  } catch {
    return // likewise
  }
  for (let at = real; ; at = dirname(at)) {
    const found = statSync(at)
    if (whoIsKeptOut(found, access) !== null) throw inTheWay(at, found, access)
    if (dirname(at) === at) return
  }
}

/** Who of those that may use the socket cannot pass through a folder; null: all can, as far as its mode tells. */
function whoIsKeptOut({ mode, uid, gid }: Stats, { others }: Access): string | null {
  const has = (bit: number): boolean => (mode & bit) !== 0
  // A user may be in the folder's group, which only the system's accounts tell.
  const user = others.uids.find((each) => (each === uid ? !has(0o100) : !has(0o001) && !has(0o010)))
  if (user !== undefined) return `user ${user}`
  const group = others.gids.find((each) => (each === gid ? !has(0o010) : !has(0o001)))
  return group === undefined ? null : `the members of group ${group}`
}

function letThrough(folder: string, access: Access): void {
  const { onlyGroup } = access
  if (nobodyElse(access)) return
  const mode = statSync(folder).mode & 0o7777
  try {
    if (onlyGroup === null) chmodSync(folder, mode | 0o011)
    else {
      chownSync(folder, -1, onlyGroup)
      chmodSync(folder, (mode & 0o7707) | 0o010)
    }
  } catch (cause) {
    throw failed(`Cannot let ${describe(access)} into the socket's folder "${folder}"`, folder, cause)
  }
}

function holdsOnlySockets(folder: string, uid: number): boolean {
  return readdirSync(folder).every((name) => {
    if (OWN_FILES.test(name)) return true
    const found = lstatSync(join(folder, name), { bigint: true, throwIfNoEntry: false })
    return found === undefined || (found.isSocket() && found.uid === BigInt(uid))
  })
}

function nobodyElse({ others }: Access): boolean {
  return others.uids.length === 0 && others.gids.length === 0
}

function describe({ others: { uids, gids } }: Access): string {
  return [uids.length > 0 && `users ${uids.join(', ')}`, gids.length > 0 && `groups ${gids.join(', ')}`]
    .filter(Boolean)
    .join(' and ')
}

function inTheWay(folder: string, found: Stats, access: Access): CoordinatorError {
  const shut = `it has mode 0${octal(found)}, user ${found.uid} and group ${found.gid}`
  const message = `Folder "${folder}" keeps out ${whoIsKeptOut(found, access)}, who may use the socket: ${shut}; let them pass (chmod o+x), or choose another folder for the socket`
  return new CoordinatorError('SOCKET_UNSAFE', message, { path: folder })
}

function failed(what: string, path: string, cause: unknown): CoordinatorError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new CoordinatorError('SOCKET_UNSAFE', `${what}: ${reason}`, { path, cause })
}

function octal({ mode }: Stats): string {
  return (mode & 0o7777).toString(8)
}
