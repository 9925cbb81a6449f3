import {
  COORDINATOR_ERROR_CODES,
  CoordinatorError,
  type CoordinatorErrorCode,
  type CoordinatorErrorFields,
  codeOf,
  type MemoryHolder,
  PROTOCOL_ERROR_CODES,
  ProtocolError,
  type ProtocolErrorCode,
  type ProtocolErrorFields,
  type ProtocolRange,
} from './errors.ts'
import {
  type Check,
  flag,
  list,
  MAX_LIST_LENGTH,
  MAX_NAME_BYTES,
  MAX_PATH_BYTES,
  name as nameText,
  nullable,
  object,
  type PlainObject,
  path as pathText,
  plainObject,
  text,
  wholeNumber,
} from './schema.ts'

/** An error as plain data. Stacks stay where they are: they tell about a machine's inside, and are long. */
export interface WireError {
  readonly name: string
  readonly code: string | null
  readonly message: string
  /** The error's own data: text, numbers, flags, and lists and maps of these. */
  readonly fields: PlainObject
  readonly cause: WireError | null
}

/** Longest message, in bytes. */
const MAX_MESSAGE_BYTES = 16_384

/** Values in the fields of one error and its causes, so that no error outgrows a frame. */
const MAX_VALUES = 500

/** How deep lists and maps among the fields may lie in each other. */
const MAX_DEPTH = 4

/** Causes that go along: the error's own, and that one's. */
const MAX_CAUSES = 2

const NOT_FIELDS = new Set(['name', 'code', 'message', 'stack', 'cause'])

/** Turns whatever was thrown into plain data. Texts that are too long are cut, data that is not plain is left out. */
export function toWire(error: unknown): WireError {
  return encode(error, MAX_CAUSES, { values: MAX_VALUES })
}

/**
 * Makes an error of plain data again: CoordinatorError and ProtocolError as these classes, any other, and those with a
 * code that this version does not know, as an Error with the same name, message, `code` and fields.
 */
export function fromWire(wire: WireError): Error {
  const cause = wire.cause === null ? undefined : fromWire(wire.cause)
  const fields = { ...wire.fields, ...(cause !== undefined && { cause }) }
  if (wire.name === 'CoordinatorError' && isOneOf<CoordinatorErrorCode>(COORDINATOR_ERROR_CODES, wire.code)) {
    return new CoordinatorError(wire.code, wire.message, pick<CoordinatorErrorFields>(coordinatorFields, fields))
  }
  if (wire.name === 'ProtocolError' && isOneOf<ProtocolErrorCode>(PROTOCOL_ERROR_CODES, wire.code)) {
    return new ProtocolError(wire.code, wire.message, pick<ProtocolErrorFields>(protocolFields, fields))
  }
  return foreignError(wire, cause)
}

export const wireError: Check<WireError> = (value, path) => checkWireError(value, path)

const checkWireError: Check<WireError> = object<WireError>({
  name: nameText,
  code: nullable(nameText),
  message: text(MAX_MESSAGE_BYTES),
  fields: (value, path) => (value === undefined || value === null ? {} : plainObject(value, path)),
  cause: nullable(wireError),
})

const anything: Check<unknown> = (value) => value

type FieldChecks<T> = { readonly [K in keyof T]-?: Check<Exclude<T[K], undefined>> }

const coordinatorFields: FieldChecks<CoordinatorErrorFields> = {
  checkpoint: nameText,
  version: wholeNumber,
  candidates: list(pathText, MAX_LIST_LENGTH),
  holders: list(
    object<MemoryHolder>({
      checkpoint: nameText,
      version: wholeNumber,
      heldBytes: wholeNumber,
      leases: wholeNumber,
      pinned: flag,
    }),
    MAX_LIST_LENGTH,
  ),
  path: pathText,
  causeCode: nameText,
  cause: anything,
}

const protocolRange = object<ProtocolRange>({ oldest: wholeNumber, newest: wholeNumber })

const protocolFields: FieldChecks<ProtocolErrorFields> = {
  field: pathText,
  actual: wholeNumber,
  limit: wholeNumber,
  coordinatorProtocols: protocolRange,
  clientProtocols: protocolRange,
  cause: anything,
}

/** Those fields that are what they should be: an error must not fail for one that is not. */
function pick<T extends object>(checks: FieldChecks<T>, fields: PlainObject): T {
  const picked = Object.entries(checks as Readonly<Record<string, Check<unknown>>>).flatMap(([key, check]) => {
    try {
      return fields[key] === undefined ? [] : [[key, check(fields[key], key)]]
    } catch {
      return []
    }
  })
  return Object.fromEntries(picked) as T
}

function foreignError(wire: WireError, cause: Error | undefined): Error {
  const error = new Error(wire.message, cause === undefined ? undefined : { cause })
  const set = (key: string, value: unknown): void => {
    Object.defineProperty(error, key, { value, configurable: true, writable: true, enumerable: key !== 'name' })
  }
  set('name', wire.name)
  if (wire.code !== null) set('code', wire.code)
  // Nothing that an error has already, such as toString.
  for (const [key, value] of Object.entries(wire.fields)) if (!(key in error)) set(key, value)
  return error
}

function isOneOf<T extends string>(codes: readonly T[], code: string | null): code is T {
  return (codes as readonly (string | null)[]).includes(code)
}

interface Budget {
  values: number
}

function encode(error: unknown, causes: number, budget: Budget): WireError {
  const code = codeOf(error)
  const what = error instanceof Error ? error : { name: 'Error', message: textOf(error), cause: undefined }
  return {
    name: cut(String(what.name), MAX_NAME_BYTES),
    code: code === undefined ? null : cut(code, MAX_NAME_BYTES),
    message: cut(String(what.message), MAX_MESSAGE_BYTES),
    fields: what === error ? plainEntries(error, NOT_FIELDS, MAX_DEPTH, budget) : {},
    cause: what.cause === undefined || causes === 0 ? null : encode(what.cause, causes - 1, budget),
  }
}

function textOf(value: unknown): string {
  try {
    return String(value)
  } catch {
    return 'Something was thrown that has no text'
  }
}

/** Undefined for what is not plain, lies too deep, or comes after the budget is spent. */
function toPlain(value: unknown, depth: number, budget: Budget): unknown {
  if (depth === 0 || budget.values-- <= 0) return undefined
  if (value === null || typeof value === 'boolean') return value
  if (typeof value === 'number') return Number.isFinite(value) ? value : undefined
  if (typeof value === 'string') return cut(value, MAX_PATH_BYTES)
  if (Array.isArray(value)) {
    return value.map((element) => toPlain(element, depth - 1, budget)).filter((element) => element !== undefined)
  }
  const isPlain = typeof value === 'object' && [Object.prototype, null].includes(Object.getPrototypeOf(value))
  return isPlain ? plainEntries(value, new Set(), depth - 1, budget) : undefined
}

function plainEntries(from: object, except: ReadonlySet<string>, depth: number, budget: Budget): PlainObject {
  const entries = Object.entries(from)
    .filter(([key]) => !except.has(key))
    .map(([key, value]) => [cut(key, MAX_NAME_BYTES), toPlain(value, depth, budget)] as const)
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined))
}

/** At most so many bytes as UTF-8, of which a code unit takes three at most, and without halves of characters. */
function cut(value: string, maxBytes: number): string {
  const short = Buffer.byteLength(value) <= maxBytes ? value : value.slice(0, Math.floor(maxBytes / 3))
  return Buffer.from(short).toString()
}
