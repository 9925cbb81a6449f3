import { ProtocolError } from './errors.ts'

/** Gives back what it was given, typed and without unknown fields, or throws MESSAGE_INVALID naming the place. */
export type Check<T> = (value: unknown, path: string) => T

/** A decoded map. */
export type PlainObject = Readonly<Record<string, unknown>>

/** Longest name, id, fingerprint or date, in bytes. */
export const MAX_NAME_BYTES = 256

/** Longest path or label, in bytes: the system's own PATH_MAX. */
export const MAX_PATH_BYTES = 4096

/** Longest selection, in bytes of JSON: what a frame has room for beside everything else. */
export const MAX_SELECTION_BYTES: number = 7 * 2 ** 20

/** Entries of one list; what one frame can hold of the smallest entries is the other limit. */
export const MAX_LIST_LENGTH = 65_536

/** Files of one checkpoint, and shards of one version: one less than the descriptors of a frame. */
export const MAX_SHARDS = 4095

/** @param maxBytes of the text as UTF-8 */
export function text(maxBytes: number): Check<string> {
  return (value, path) => {
    if (typeof value !== 'string') return refuse(describe(value), path, 'a string')
    if (value.length > maxBytes || Buffer.byteLength(value) > maxBytes) {
      const message = `Invalid message: ${path} is longer than ${maxBytes} bytes`
      throw new ProtocolError('MESSAGE_INVALID', message, { field: path, limit: maxBytes })
    }
    return value
  }
}

export const name: Check<string> = text(MAX_NAME_BYTES)
export const path: Check<string> = text(MAX_PATH_BYTES)

/** Text that is shown to people, without control characters, which could play tricks with their terminals. */
export function printableText(maxBytes: number): Check<string> {
  const check = text(maxBytes)
  return (value, path) => {
    const checked = check(value, path)
    return /\p{Cc}/u.test(checked) ? refuse('text with control characters', path, 'printable text') : checked
  }
}

/** Counts, bytes, versions and ids: exact, and never negative. */
export const wholeNumber: Check<number> = (value, path) =>
  Number.isSafeInteger(value) && (value as number) >= 0
    ? (value as number)
    : refuse(describe(value), path, 'a whole number from 0 to 2^53 - 1')

export const flag: Check<boolean> = (value, path) =>
  typeof value === 'boolean' ? value : refuse(describe(value), path, 'true or false')

export const plainObject: Check<PlainObject> = (value, path) =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as PlainObject)
    : refuse(describe(value), path, 'a map')

export function oneOf<const T extends string>(...allowed: readonly T[]): Check<T> {
  return (value, path) =>
    (allowed as readonly unknown[]).includes(value)
      ? (value as T)
      : refuse(describe(value), path, allowed.map((each) => `"${each}"`).join(' or '))
}

/** Absent reads as null, so that a field may be added later. */
export function nullable<T>(check: Check<T>): Check<T | null> {
  return (value, path) => (value === undefined || value === null ? null : check(value, path))
}

/** Absent reads as an empty list, so that a field may be added later. */
export function listOrNone<T>(check: Check<T>, maxLength: number): Check<readonly T[]> {
  const checked = list(check, maxLength)
  return (value, path) => (value === undefined ? [] : checked(value, path))
}

/** Absent reads as what was meant before the count was added. */
export function countOr(absent: number): Check<number> {
  return (value, path) => (value === undefined ? absent : wholeNumber(value, path))
}

/** Absent reads as nothing, so that a text may be added later. */
export function textOrNone(maxBytes: number): Check<string> {
  const check = text(maxBytes)
  return (value, path) => (value === undefined ? '' : check(value, path))
}

/** Absent reads as false, so that a flag may be added later. */
export const flagOrNot: Check<boolean> = (value, path) => (value === undefined ? false : flag(value, path))

export function list<T>(check: Check<T>, maxLength: number): Check<readonly T[]> {
  return (value, path) => {
    if (!Array.isArray(value)) return refuse(describe(value), path, 'a list')
    if (value.length > maxLength) return refuse(`a list of ${value.length}`, path, `a list of at most ${maxLength}`)
    return value.map((element, index) => check(element, `${path}[${index}]`))
  }
}

/** A map with these fields; whatever else is in it is left out. */
export function object<T extends object>(fields: { readonly [K in keyof T]-?: Check<T[K]> }): Check<T> {
  const checks = Object.entries(fields) as [string, Check<unknown>][]
  return (value, path) => {
    const given = plainObject(value, path)
    const prefix = path === '' ? '' : `${path}.`
    return Object.fromEntries(
      checks.map(([key, check]) => [key, check(Object.hasOwn(given, key) ? given[key] : undefined, prefix + key)]),
    ) as T
  }
}

/** One of several kinds of messages, told apart by `type`. */
export function union<T extends { readonly type: string }>(
  kinds: {
    readonly [K in T['type']]: Check<Extract<T, { readonly type: K }>>
  },
): Check<T> {
  const checks = new Map<unknown, Check<T>>(Object.entries(kinds) as [string, Check<T>][])
  return (value, path) => {
    const given = plainObject(value, path === '' ? 'the body' : path)
    const type = given['type']
    const check = checks.get(type)
    return check === undefined
      ? refuse(describe(type), 'type', `one of ${[...checks.keys()].join(', ')}`)
      : check(value, path)
  }
}

function refuse(found: string, path: string, expected: string): never {
  throw new ProtocolError('MESSAGE_INVALID', `Invalid message: ${path} is ${found}, it must be ${expected}`, {
    field: path,
  })
}

function describe(value: unknown): string {
  if (value === undefined) return 'missing'
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return String(value)
  // What a peer wrote is quoted in part only, and on one line.
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value)
  return Array.isArray(value) ? 'a list' : 'a map'
}
