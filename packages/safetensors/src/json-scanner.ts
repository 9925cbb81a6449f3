import { canonical, MAX_UINT64, type Uint64 } from './byte-length.ts'
import { quoteName, SafetensorsError, type SafetensorsErrorCode } from './errors.ts'
import { unescapeJson } from './json-escapes.ts'

/** How many arrays and objects may stand in each other, the outermost counted: what the reference's parser accepts. */
export const MAX_NESTING = 127

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const COLON = 0x3a
const ZERO = 0x30

// The text is checked beforehand, so nothing is ever replaced here; a byte order mark inside a string is part of it.
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
const encoder = new TextEncoder()

/** The bytes of a string in quotes, for {@link JsonScanner.match}; `text` must need no escape. */
export function stringToken(text: string): Uint8Array {
  return encoder.encode(`"${text}"`)
}

// Where short ASCII text is put together, an array for each length: what a view and a TextDecoder cost for each name is a
// seventh of the time that a header takes. A string cut from one text of the whole header would keep all of it alive.
const SHORT_TEXTS: readonly number[][] = Array.from({ length: 129 }, (_, length) => new Array<number>(length).fill(0))

const MAX_SHOWN_DIGITS = 40 // a hostile number may have a hundred million

const CACHE_SLOTS = 1024 // a power of two; more than the shards of the largest checkpoints

/** What {@link JsonScanner.readRepeated} has read: a slot for each hash, the newest string in it. */
export class StringCache {
  readonly strings: string[] = new Array<string>(CACHE_SLOTS).fill('')
  readonly tokens: (Uint8Array | undefined)[] = new Array<undefined>(CACHE_SLOTS).fill(undefined)
}

/**
 * The same bytes as a plain Uint8Array (a Buffer's slice() does not copy), and a copy where the memory is shared: another
 * thread must not change them between check and use, and browsers decode no text from shared memory.
 */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  const { buffer, byteOffset, byteLength } = bytes
  return buffer instanceof ArrayBuffer ? new Uint8Array(buffer, byteOffset, byteLength) : new Uint8Array(bytes)
}

/**
 * A strict JSON reader over bytes, which the caller pulls value by value: no tree of objects, no recursion. It stands
 * here because JSON.parse hides duplicate keys, rounds integers above 2^53, takes `1.0`, `-0` and lone surrogates, and
 * moves integer-like keys to the front. The bytes must be {@link plainBytes} and valid UTF-8 (see `findInvalidUtf8`).
 *
 * Every method skips leading whitespace and throws a SafetensorsError with the code given to the constructor.
 */
export class JsonScanner {
  /** The next byte to be read. */
  position = 0
  /** The tensor whose entry is being read, for errors to name. */
  tensor: string | undefined
  private readonly bytes: Uint8Array
  private readonly code: SafetensorsErrorCode
  private readonly subject: string

  /** `subject` begins the sentences of errors: `Header`, `Shard index`. */
  constructor(bytes: Uint8Array, code: SafetensorsErrorCode, subject: string) {
    this.bytes = bytes
    this.code = code
    this.subject = subject
  }

  /** The next byte that is not whitespace, not consumed; -1 at the end. */
  peek(): number {
    const { bytes } = this
    let position = this.position
    let byte = bytes[position]
    while (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) byte = bytes[++position]
    this.position = position
    return byte ?? -1
  }

  beginObject(what: string): void {
    if (this.peek() !== 0x7b) throw this.unexpected(`an object (${what})`)
    this.position++
  }

  beginArray(what: string): void {
    if (this.peek() !== 0x5b) throw this.unexpected(`an array (${what})`)
    this.position++
  }

  /** Steps to the key of an object's next member, or out of the object: false. */
  nextMember(first: boolean): boolean {
    let byte = this.peek()
    if (byte === 0x7d) {
      this.position++
      return false
    }
    if (!first) {
      if (byte !== COMMA) throw this.unexpected('"," or "}"')
      this.position++
      byte = this.peek()
    }
    if (byte !== QUOTE) throw this.unexpected('a key in double quotes')
    return true
  }

  /** Steps to an array's next element, or out of the array: false. */
  nextElement(first: boolean): boolean {
    const byte = this.peek()
    if (byte === 0x5d) {
      this.position++
      return false
    }
    if (!first) {
      if (byte !== COMMA) throw this.unexpected('"," or "]"')
      this.position++
      if (this.peek() === 0x5d) throw this.unexpected('a value after ","')
    }
    return true
  }

  /** Reads a member's key and the colon after it. */
  readKey(): string {
    const key = this.readString('a key')
    this.colon()
    return key
  }

  /** Consumes the colon between a key and its value. */
  colon(): void {
    if (this.peek() !== COLON) throw this.unexpected('":"')
    this.position++
  }

  /** Consumes exactly these bytes if they stand here: a cheap way to know a frequent string without decoding it. */
  match(token: Uint8Array): boolean {
    this.peek()
    const { bytes, position } = this
    for (let i = 0; i < token.length; i++) {
      if (bytes[position + i] !== token[i]) return false
    }
    this.position = position + token.length
    return true
  }

  /** Consumes `null` if it stands here. */
  matchNull(): boolean {
    return this.match(NULL)
  }

  readString(what: string): string {
    if (this.peek() !== QUOTE) throw this.unexpected(`a string (${what})`)
    const { bytes } = this
    const start = this.position + 1
    const end = bytes.length
    for (let position = start; position < end; position++) {
      const byte = bytes[position]!
      if (byte === QUOTE) {
        this.position = position + 1
        return this.decode(start, position)
      }
      if (byte === BACKSLASH) return this.readEscaped(start, position)
      if (byte < 0x20) throw this.unexpectedAt(position, 'no control character in a string')
    }
    throw this.unexpectedAt(end, 'the end of a string')
  }

  /**
   * Reads a string of which there are few and which come often: those that `known` holds are not decoded again, and
   * equal ones are the same object.
   */
  readRepeated(what: string, known: StringCache): string {
    if (this.peek() !== QUOTE) throw this.unexpected(`a string (${what})`)
    const { bytes } = this
    const start = this.position + 1
    let end = start
    let hash = 0
    while (end < bytes.length && bytes[end] !== QUOTE && bytes[end] !== BACKSLASH) {
      hash = (Math.imul(hash, 31) + bytes[end]!) | 0
      end++
    }
    const slot = (hash ^ (hash >>> 11)) & (CACHE_SLOTS - 1)
    const token = known.tokens[slot]
    // The token holds both quotes, so that a match is the whole string.
    if (token !== undefined && this.match(token)) return known.strings[slot]!
    const text = this.readString(what)
    if (bytes[end] === QUOTE) {
      known.tokens[slot] = bytes.slice(start - 1, end + 1)
      known.strings[slot] = text
    }
    return text
  }

  /** Reads an integer from 0 to 2^64 - 1, exactly; refuses fractions, exponents, signs and leading zeros. */
  readUint(what: string): Uint64 {
    let byte = this.peek()
    const { bytes } = this
    const start = this.position
    let position = start
    let value = 0
    while (byte >= ZERO && byte <= 0x39) {
      value = value * 10 + (byte - ZERO)
      byte = bytes[++position] ?? -1
    }
    const digits = position - start
    const leadingZero = digits > 1 && bytes[start] === ZERO
    if (digits === 0 || leadingZero || byte === 0x2e || byte === 0x65 || byte === 0x45) {
      throw this.unexpectedAt(start, `an integer from 0 to 2^64 - 1 (${what})`)
    }
    this.position = position
    if (digits <= 15) return value
    // The sum above has been rounded; no more than 20 digits can be a u64, so nothing long is ever converted.
    const exact = digits <= 20 ? BigInt(this.decode(start, position)) : MAX_UINT64 + 1n
    if (exact <= MAX_UINT64) return canonical(exact)
    const shown = this.decode(start, Math.min(position, start + MAX_SHOWN_DIGITS))
    const more = digits > MAX_SHOWN_DIGITS ? `… (${digits} digits)` : ''
    throw this.error(`expected an integer from 0 to 2^64 - 1 (${what}), found ${shown}${more}`, start)
  }

  /** Checks and passes over any value. `depth`: how many arrays and objects are open around it. */
  skipValue(depth: number): void {
    const open: ('{' | '[')[] = []
    do {
      const byte = this.peek()
      if (byte === 0x7b || byte === 0x5b) {
        if (depth + open.length >= MAX_NESTING) throw this.unexpected(`at most ${MAX_NESTING} nested values`)
        this.position++
        open.push(byte === 0x7b ? '{' : '[')
        if (this.stepIn(open, true)) continue
      } else {
        this.skipScalar(byte)
      }
      while (open.length > 0 && !this.stepIn(open, false));
    } while (open.length > 0)
  }

  /** Throws unless only whitespace is left. */
  end(): void {
    if (this.peek() !== -1) throw this.unexpected('the end')
  }

  /** The text from byte `start` to byte `end`, exclusive. */
  text(start: number, end: number): string {
    return this.decode(start, end)
  }

  /** An error at `position`; `what` says what is wrong there. */
  error(what: string, position: number = this.position): SafetensorsError {
    const of = this.tensor === undefined ? '' : `, in tensor ${quoteName(this.tensor)}`
    return new SafetensorsError(this.code, `${this.subject} is not valid: ${what} at byte ${position}${of}`, {
      tensor: this.tensor,
      details: { position },
    })
  }

  /** Steps to the next value of the innermost container in `open`, or closes it: false. */
  private stepIn(open: ('{' | '[')[], first: boolean): boolean {
    const inObject = open[open.length - 1] === '{'
    if (inObject ? this.nextMember(first) : this.nextElement(first)) {
      if (inObject) this.readKey()
      return true
    }
    open.pop()
    return false
  }

  private skipScalar(byte: number): void {
    if (byte === QUOTE) this.readString('value')
    else if (byte === 0x2d || (byte >= ZERO && byte <= 0x39)) this.skipNumber()
    else if (!this.match(TRUE) && !this.match(FALSE) && !this.match(NULL)) throw this.unexpected('a value')
  }

  private skipNumber(): void {
    const start = this.position
    if (this.bytes[this.position] === 0x2d) this.position++
    const integer = this.position
    const digits = this.skipDigits()
    if (digits > 1 && this.bytes[integer] === ZERO) throw this.unexpectedAt(integer, 'no leading zero')
    let exponent = false
    if (this.bytes[this.position] === 0x2e) {
      this.position++
      this.skipDigits()
    }
    if (this.bytes[this.position] === 0x65 || this.bytes[this.position] === 0x45) {
      exponent = true
      this.position++
      if (this.bytes[this.position] === 0x2b || this.bytes[this.position] === 0x2d) this.position++
      this.skipDigits()
    }
    const mayOverflow = exponent || digits > 300
    if (mayOverflow && !Number.isFinite(Number(this.decode(start, this.position)))) {
      throw this.unexpectedAt(start, 'a number within the range of a double')
    }
  }

  private skipDigits(): number {
    const { bytes } = this
    const start = this.position
    let position = start
    while (bytes[position]! >= ZERO && bytes[position]! <= 0x39) position++
    this.position = position
    if (position === start) throw this.unexpected('a digit')
    return position - start
  }

  /** Reads a string that began at `start` and has its first backslash at `firstBackslash`. */
  private readEscaped(start: number, firstBackslash: number): string {
    const { bytes } = this
    let end = firstBackslash
    while (end < bytes.length && bytes[end] !== QUOTE) {
      if (bytes[end]! < 0x20) throw this.unexpectedAt(end, 'no control character in a string')
      end += bytes[end] === BACKSLASH ? 2 : 1
    }
    if (end >= bytes.length) throw this.unexpectedAt(bytes.length, 'the end of a string')
    const text = unescapeJson(this.bytes.subarray(start, end), (position, expected) =>
      this.unexpectedAt(start + position, expected),
    )
    this.position = end + 1
    return decoder.decode(text)
  }

  private decode(start: number, end: number): string {
    const { bytes } = this
    const units = SHORT_TEXTS[end - start]
    if (units !== undefined) {
      let all = 0
      for (let i = 0; i < units.length; i++) {
        const byte = bytes[start + i]!
        all |= byte
        units[i] = byte
      }
      if (all < 0x80) return String.fromCharCode.apply(null, units)
    }
    return decoder.decode(bytes.subarray(start, end))
  }

  private unexpected(expected: string): SafetensorsError {
    return this.unexpectedAt(this.position, expected)
  }

  private unexpectedAt(position: number, expected: string): SafetensorsError {
    const byte = this.bytes[position]
    const printable = byte !== undefined && byte > 0x20 && byte < 0x7f
    const hex = `byte 0x${byte?.toString(16).padStart(2, '0')}`
    const found = byte === undefined ? 'the end' : printable ? String.fromCharCode(byte) : hex
    return this.error(`expected ${expected}, found ${found}`, position)
  }
}

const TRUE = encoder.encode('true')
const FALSE = encoder.encode('false')
const NULL = encoder.encode('null')
