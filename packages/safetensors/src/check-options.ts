import { quoteName } from './errors.ts'

/** What an argument or option must be. */
export interface Rule {
  /** How a message says it, such as `a whole number from 1 to 1024`. */
  readonly must: string
  /** A value of another kind is a TypeError. */
  readonly isKind: (value: unknown) => boolean
  /** A value of the right kind that is not one of these is a RangeError. @default all are */
  readonly isWithin?: (value: never) => boolean
}

/** The rules that several functions need; whoever needs another writes it where it is used. */
export const rules = {
  flag: { must: 'true or false', isKind: (value) => typeof value === 'boolean' } as Rule,
  text: { must: 'a text', isKind: (value) => typeof value === 'string' } as Rule,
  callback: { must: 'a function', isKind: (value) => typeof value === 'function' } as Rule,
  bytes: { must: 'a Uint8Array', isKind: isBytes } as Rule,
  object: { must: 'an object', isKind: isPlain } as Rule,
  signal: { must: 'an AbortSignal', isKind: isSignal } as Rule,
  oneOf: (...choices: readonly string[]): Rule => ({
    must: `one of ${choices.join(', ')}`,
    isKind: (value) => typeof value === 'string',
    isWithin: (value: string) => choices.includes(value),
  }),
  wholeNumber: (min: number, max: number = Number.MAX_SAFE_INTEGER): Rule => ({
    must: max === Number.MAX_SAFE_INTEGER ? `a whole number, ${min} or more` : `a whole number from ${min} to ${max}`,
    isKind: (value) => typeof value === 'number',
    isWithin: (value: number) => Number.isSafeInteger(value) && min <= value && value <= max,
  }),
  listOf: ({ must, isKind, isWithin }: Rule): Rule => ({
    must: `a list, each entry of which is ${must}`,
    isKind: (value) => Array.isArray(value) && value.every(isKind),
    ...(isWithin && { isWithin: (value: readonly never[]) => value.every(isWithin) }),
  }),
  instanceOf: (type: abstract new (...args: never[]) => object, must: string): Rule => ({
    must,
    isKind: (value) => value instanceof type,
  }),
} as const

/**
 * Sees to it that an argument is what it must be.
 * @param name how the message calls it, such as `The option backing` or `The slice's step`
 * @throws TypeError for the wrong kind, RangeError for a value that is none of those that may be
 */
export function checkArgument(name: string, value: unknown, { must, isKind, isWithin }: Rule): void {
  const kind = isKind(value)
  if (kind && (isWithin === undefined || isWithin(value as never))) return
  throw new (kind ? RangeError : TypeError)(`${name} is ${show(value)}; it must be ${must}`)
}

/**
 * Sees to it that options are known and what they must be. An option that is undefined is one that was not given.
 * @param owner whose options they are, such as `openCheckpoint()`
 * @param options what the caller gave
 * @param known a rule for each option; null for one that others check
 * @throws TypeError, RangeError naming the option and what it must be
 */
export function checkOptions(owner: string, options: unknown, known: Readonly<Record<string, Rule | null>>): void {
  if (options === undefined) return
  checkArgument(`The options of ${owner}`, options, rules.object)
  for (const [name, value] of Object.entries(options as object)) {
    if (!Object.hasOwn(known, name)) {
      const names = Object.keys(known).join(', ')
      throw new TypeError(`${owner} has no option ${quoteName(name)}; its options are ${names}`)
    }
    const rule = known[name]
    if (value !== undefined && rule != null) checkArgument(`The option ${name} of ${owner}`, value, rule)
  }
}

function isPlain(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Also one of another realm. */
function isBytes(value: unknown): boolean {
  return ArrayBuffer.isView(value) && (value as Uint8Array)[Symbol.toStringTag] === 'Uint8Array'
}

/** Also one of another realm, and of a library that brings its own. */
function isSignal(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'aborted' in value && 'addEventListener' in value
}

/** A value as a message shows it: whatever it is, on one line, and not long. */
function show(value: unknown): string {
  if (typeof value === 'string') return quoteName(value)
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'symbol') return 'a symbol'
  if (typeof value !== 'object' || value === null) return String(value)
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : `a list of ${value.length}`
  const name: unknown = value.constructor?.name
  return typeof name === 'string' && name !== 'Object' && name !== ''
    ? `an object of class ${quoteName(name)}`
    : 'an object'
}
