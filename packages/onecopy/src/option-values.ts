import { homedir } from 'node:os'
import { InvalidArgumentError } from 'commander'
import { GROUPS, type Group } from './commands/bench/result.ts'
import { parseByteLength } from './terminal/units.ts'

/** More threads than the largest hosts have cores. */
const MAX_THREADS = 1024

/** Processes of a demo: each is a Node.js of its own, with some 50 MB before it does anything. */
const MAX_PROCESSES = 256

/** Trials behind each figure of a bench; more than this is a day's work. */
const MAX_TRIALS = 1000

/** Places along one axis of a mesh: what a policy may say too. */
const MAX_PLACES = 8192

/** The smallest checkpoint that still has several shards worth the name. */
const MIN_DEMO_BYTES = 8 * 2 ** 20

/** More clients than processes have descriptors for. */
const MAX_CLIENTS = 2 ** 20

/** What timers can count. */
const MAX_MILLISECONDS = 2 ** 31 - 1

/** The largest user and group id; the one above it means "none" to the kernel. */
const MAX_ID = 2 ** 32 - 2

/** A checkpoint as a command is asked for it: what `openCheckpoint` takes. */
export type Source = string | readonly string[]

/** One word of a checkpoint's argument; a second makes it a list of shards. */
export function parseSource(text: string, previous?: Source): Source {
  const path = fromHome(text)
  return previous === undefined ? path : [previous, path].flat()
}

/** With this user's home folder for a `~` that the shell has left: in quotes, or behind `name=`. */
export function fromHome(path: string): string {
  return path.replace(/^~(?=\/|$)/, () => homedir())
}

export function parseThreads(text: string): number {
  return parseWholeNumber(text, 1, MAX_THREADS)
}

export function parseProcesses(text: string): number {
  return parseWholeNumber(text, 0, MAX_PROCESSES)
}

export function parseReaders(text: string): number {
  return parseWholeNumber(text, 1, MAX_PROCESSES)
}

export function parseTrials(text: string): number {
  return parseWholeNumber(text, 1, MAX_TRIALS)
}

/** Groups of figures, separated by commas; giving the option again adds to them. */
export function parseGroups(text: string, previous: readonly Group[] = []): readonly Group[] {
  const groups = text.split(',').map((name) => GROUPS.find((group) => group === name.trim()))
  if (groups.every((group) => group !== undefined)) return [...new Set([...previous, ...groups])]
  throw new InvalidArgumentError(`It must be some of ${GROUPS.join(', ')}, separated by commas.`)
}

export function parsePlaces(text: string): number {
  return parseWholeNumber(text, 1, MAX_PLACES)
}

export function parseClients(text: string): number {
  return parseWholeNumber(text, 1, MAX_CLIENTS)
}

export function parseMilliseconds(text: string): number {
  return parseWholeNumber(text, 0, MAX_MILLISECONDS)
}

export function parseId(text: string): number {
  return parseWholeNumber(text, 0, MAX_ID)
}

/** User ids, separated by commas; giving the option again adds to them. */
export function parseIds(text: string, previous: readonly number[] = []): readonly number[] {
  return [...previous, ...text.split(',').map(parseId)]
}

export function parseSize(text: string): number {
  const byteLength = parseByteLength(text)
  if (byteLength === null) throw new InvalidArgumentError('It must be a size such as 512MiB, 2GiB or 1.5GB.')
  return byteLength
}

/** Commander takes null for a value that is missing, so no limit stays a word. */
export function parseBudget(text: string): number | 'none' {
  return text === 'none' ? text : parseSize(text)
}

export function parseDemoSize(text: string): number {
  const byteLength = parseSize(text)
  if (byteLength >= MIN_DEMO_BYTES) return byteLength
  throw new InvalidArgumentError('It must be 8MiB or more.')
}

export function parseSocket(text: string): string {
  if (text !== '') return text
  throw new InvalidArgumentError('It must be the path of a unix socket.')
}

function parseWholeNumber(text: string, min: number, max: number): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= min && value <= max) return value
  throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`)
}
