// What a task throws goes to the pool by structured cloning, which keeps of an error its message and stack, turns a class into
// the built-in one above it, and fails for a function. So threads send it in parts, and unpack-thrown.ts puts it together.

/** What the pool gets in place of what was thrown. */
export interface Thrown {
  readonly 'onecopy:thrown': Packed
}

export type Packed =
  | { readonly error: PackedError }
  | { readonly list: readonly Packed[] }
  /** A clone of what was there. */
  | { readonly value: unknown }
  /** The text of what cannot be sent. */
  | { readonly lost: string }

/** Objects of this kind may hold each other in a ring, as errors may. */
export interface PackedError {
  /** The error's own name, then those of its classes, from its own upwards. */
  readonly names: readonly string[]
  readonly message: string
  readonly stack: string | null
  /** Text or number; null where there is none. */
  readonly code: unknown
  /** Own properties. */
  readonly fields: { readonly key: string; readonly packed: Packed; readonly enumerable: boolean }[]
}

/** How many errors deep one may lie in another: structured cloning of a longer chain may exhaust the stack of the pool's thread. */
const MAX_DEPTH = 50

/** Own properties of errors that belong to what they say, though they are not enumerable. */
const HIDDEN_FIELDS: ReadonlySet<string> = new Set(['cause', 'errors', 'error', 'suppressed'])
const NOT_FIELDS: ReadonlySet<string> = new Set(['message', 'stack'])

/**
 * Packs whatever was thrown; never throws.
 * @param file the task module, when it threw while it was imported: added to a message that does not name it
 */
export function packThrown(thrown: unknown, file?: string): Thrown {
  try {
    return { 'onecopy:thrown': pack(thrown, new Map(), 0, file) }
  } catch {
    return { 'onecopy:thrown': { lost: 'something that cannot be read' } }
  }
}

/**
 * Adds to an error what `packThrown` makes of it: what ends a thread goes to the pool in a way of Node's own, which keeps the
 * properties of errors, but not all that lies in these. Of a DOMException it keeps only some that are enumerable.
 */
export function addThrown(thrown: unknown): void {
  try {
    if (!isObject(thrown)) return
    const enumerable = thrown instanceof DOMException
    const message = read(thrown, 'message')
    Object.defineProperty(thrown, 'onecopy:thrown', { value: packThrown(thrown)['onecopy:thrown'], enumerable })
    if (enumerable) Object.defineProperty(thrown, 'message', { value: message, enumerable })
  } catch {
    // Frozen, or a proxy: Node's own way must do.
  }
}

function pack(value: unknown, seen: Map<object, PackedError>, depth: number, file?: string): Packed {
  if (isError(value)) {
    const error = seen.get(value) ?? (depth < MAX_DEPTH ? packError(value, seen, depth, file) : undefined)
    return error === undefined ? { lost: textOf(value) } : { error }
  }
  if (Array.isArray(value) && value.some(isError)) return { list: value.map((entry) => pack(entry, seen, depth)) }
  try {
    // Sent is the clone: a getter may throw the second time.
    return { value: structuredClone(value) }
  } catch {
    return { lost: textOf(value) }
  }
}

function packError(error: Error, seen: Map<object, PackedError>, depth: number, file: string | undefined): PackedError {
  const own = textOf(read(error, 'message'))
  const stack = read(error, 'stack')
  const unnamed = file !== undefined && !own.includes(file)
  const message = unnamed ? `${own} (while importing the task module ${file})` : own
  const packed: PackedError = {
    names: [textOf(read(error, 'name')), ...classesOf(error)],
    message,
    // The stack has the message of when it was made, and is what consoles print.
    stack: typeof stack === 'string' ? (unnamed ? stack.replace(own, () => message) : stack) : null,
    code: codeOf(error),
    fields: [],
  }
  seen.set(error, packed)
  for (const [key, { enumerable = false }] of Object.entries(Object.getOwnPropertyDescriptors(error))) {
    if (NOT_FIELDS.has(key) || !(enumerable || HIDDEN_FIELDS.has(key))) continue
    packed.fields.push({ key, packed: pack(read(error, key), seen, depth + 1), enumerable })
  }
  if (file !== undefined) {
    packed.fields.push({ key: 'taskModule', packed: { value: file }, enumerable: true })
  }
  return packed
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

/** Also one of another realm, such as a context of node:vm. */
function isError(value: unknown): value is Error {
  return value instanceof Error || Object.prototype.toString.call(value) === '[object Error]'
}

function classesOf(error: object): string[] {
  const names: string[] = []
  let prototype: unknown = Object.getPrototypeOf(error)
  while (isObject(prototype) && names.length < MAX_DEPTH) {
    const name = (read(prototype, 'constructor') as { name?: unknown } | undefined)?.name
    if (typeof name === 'string') names.push(name)
    prototype = Object.getPrototypeOf(prototype)
  }
  return names
}

function codeOf(error: object): unknown {
  const code = read(error, 'code')
  return typeof code === 'string' || typeof code === 'number' ? code : null
}

/** A getter that throws has no value. */
function read(from: object, key: string): unknown {
  try {
    return (from as Record<string, unknown>)[key]
  } catch {
    return undefined
  }
}

function textOf(value: unknown): string {
  if (typeof value === 'function') return `the function ${value.name || 'without a name'}`
  try {
    return String(value)
  } catch {
    return 'something that has no text'
  }
}
