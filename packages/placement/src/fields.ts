import { quoteName } from '@onecopy/safetensors'
import { PlacementError, type PlacementErrorCode, type PlacementErrorFields } from './errors.ts'
import { nearest } from './nearest.ts'

/** What a value from JSON has to be, and the error when it is not. */
export interface Fields {
  /** Throws, naming the field; `what` goes on from there: `says this: it must say that`. */
  refuse(field: string, what: string, facts?: PlacementErrorFields): never
  /** Throws, naming the field, what it is and what it must be. */
  fail(field: string, value: unknown, rule: string, facts?: PlacementErrorFields): never
  /** An object with no fields but the known ones; those that are undefined are left out. */
  object<Known extends string>(
    value: unknown,
    field: string,
    known: readonly Known[],
  ): { readonly [K in Known]?: unknown }
  array(value: unknown, field: string, minLength?: number): readonly unknown[]
  /** An array, each entry of which is read at its own field, such as `rules[3]`. */
  list<T>(value: unknown, field: string, read: (entry: unknown, field: string) => T, minLength?: number): readonly T[]
  string(value: unknown, field: string): string
  /** An integer from `min` to `max`, both inclusive. */
  integer(value: unknown, field: string, min: number, max?: number): number
  oneOf<Choice extends string>(value: unknown, field: string, choices: readonly Choice[]): Choice
}

type FormErrorCode = Extract<PlacementErrorCode, 'POLICY_INVALID' | 'TOPOLOGY_INVALID' | 'PLAN_INVALID'>

/**
 * Checks for a value that may come from JSON.
 *
 * @param code of the errors
 * @param what the whole is called where a message needs a name for it, such as `policy`
 */
export function fieldsOf(code: FormErrorCode, what: string): Fields {
  const refuse = (field: string, how: string, facts: PlacementErrorFields = {}): never => {
    const subject = field === '' ? `The ${what}` : `${what[0]!.toUpperCase()}${what.slice(1)} field ${field}`
    throw new PlacementError(code, `${subject} ${how}`, { ...(field !== '' && { field }), ...facts })
  }
  const fail = (field: string, value: unknown, rule: string, facts?: PlacementErrorFields): never =>
    refuse(field, `is ${show(value)}: it must be ${rule}`, facts)
  const array = (value: unknown, field: string, minLength = 0): readonly unknown[] => {
    if (!Array.isArray(value)) return fail(field, value, 'an array')
    if (value.length < minLength) fail(field, value, `an array of at least ${minLength}`)
    return value
  }
  return {
    refuse,
    fail,
    array,
    list(value, field, read, minLength) {
      return array(value, field, minLength).map((entry, at) => read(entry, `${field}[${at}]`))
    },
    object(value, field, known) {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) fail(field, value, 'an object')
      const taken: { [K in (typeof known)[number]]?: unknown } = {}
      for (const [key, content] of Object.entries(value as object)) {
        const name = known.find((one) => one === key)
        if (name === undefined) throw unknownField(code, what, field, key, known)
        if (content !== undefined) taken[name] = content
      }
      return taken
    },
    string(value, field) {
      return typeof value === 'string' && value !== '' ? value : fail(field, value, 'a string that is not empty')
    },
    integer(value, field, min, max = Number.MAX_SAFE_INTEGER) {
      if (Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max) return value as number
      return fail(field, value, max === Number.MAX_SAFE_INTEGER ? atLeast(min) : `an integer from ${min} to ${max}`)
    },
    oneOf(value, field, choices) {
      const choice = choices.find((one) => one === value)
      if (choice !== undefined) return choice
      const candidates = typeof value === 'string' ? nearest(value, choices) : []
      return fail(field, value, `one of ${quoted(choices)}`, candidates.length > 0 ? { candidates } : {})
    },
  }
}

/** The names in quotes, with commas. */
export function quoted(names: readonly string[]): string {
  return names.map((name) => quoteName(name)).join(', ')
}

/** The tail of a message that offers names; empty when there is none to offer. */
export function nearestHint(candidates: readonly string[]): string {
  return candidates.length === 0 ? '' : `; nearest: ${quoted(candidates)}`
}

function atLeast(min: number): string {
  if (min === 1) return 'a positive integer'
  return min === Number.MIN_SAFE_INTEGER ? 'an integer' : `an integer of at least ${min}`
}

function unknownField(
  code: FormErrorCode,
  what: string,
  owner: string,
  key: string,
  known: readonly string[],
): PlacementError {
  const field = owner === '' ? key : `${owner}.${key}`
  const like = nearest(key, known)
  const candidates = like.length > 0 ? like : known
  const hint = like.length > 0 ? nearestHint(like) : `; known: ${quoted(known)}`
  const place = owner === '' ? `A ${what}` : `${owner} of a ${what}`
  const message = `${place} has no field ${quoteName(key)} (${quoteName(field)})${hint}`
  return new PlacementError(code, message, { field, candidates })
}

/** A value as a message shows it, whatever it is. */
export function show(value: unknown): string {
  if (typeof value === 'string') return quoteName(value)
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'function' || typeof value === 'symbol') return `a ${typeof value}`
  if (value === null || typeof value !== 'object') return String(value)
  if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : `an array of ${value.length}`
  return Object.keys(value).length === 0 ? 'an empty object' : 'an object'
}
