import { readFileSync } from 'node:fs'

/** Clients at a time unless the caller says otherwise. */
const DEFAULT_CLIENTS = 1024

/** Descriptors that are no client's: of shards, of files that are read, of frames that are under way. */
const OWN_DESCRIPTORS = 256

/** Fewer clients than this are not worth a limit of our own. */
const FEWEST_CLIENTS = 16

/**
 * How many clients a coordinator takes, so that it never runs out of descriptors for them.
 * @param wanted what the caller said
 * @throws RangeError when this process may not open as many files
 */
export function clientsThatFit(wanted: number | undefined, limit: number = openFileLimit()): number {
  const room = limit - OWN_DESCRIPTORS
  if (wanted === undefined) return Math.max(FEWEST_CLIENTS, Math.min(DEFAULT_CLIENTS, room))
  if (wanted <= Math.max(FEWEST_CLIENTS, room)) return wanted
  throw new RangeError(
    `The option maxClients is ${wanted}; it must be ${room} at most, since this process may have ${limit} files open and needs ${OWN_DESCRIPTORS} of them itself (raise it with ulimit -n ${wanted + OWN_DESCRIPTORS})`,
  )
}

function openFileLimit(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8')
    const [, soft] = /^Max open files\s+(\d+|unlimited)/m.exec(limits) ?? []
    return soft === undefined || soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft)
  } catch {
    return Number.POSITIVE_INFINITY
  }
}
