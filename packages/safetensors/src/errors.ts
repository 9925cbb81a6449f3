/** What went wrong, as a stable string: match on `code`, never on the message or on `instanceof` across threads. */
export type SafetensorsErrorCode =
  | 'SAFETENSORS_HEADER_TOO_SMALL'
  | 'SAFETENSORS_HEADER_TOO_LARGE'
  | 'SAFETENSORS_INVALID_HEADER_LENGTH'
  | 'SAFETENSORS_INVALID_HEADER_UTF8'
  | 'SAFETENSORS_INVALID_HEADER_JSON'
  | 'SAFETENSORS_DUPLICATE_KEY'
  | 'SAFETENSORS_INVALID_OFFSET'
  | 'SAFETENSORS_VALIDATION_OVERFLOW'
  | 'SAFETENSORS_MISALIGNED_SLICE'
  | 'SAFETENSORS_TENSOR_INVALID_INFO'
  | 'SAFETENSORS_METADATA_INCOMPLETE_BUFFER'
  | 'SAFETENSORS_INVALID_INDEX'
  | 'SAFETENSORS_UNSAFE_SHARD_NAME'
  | 'SAFETENSORS_INVALID_SLICE'
  | 'SAFETENSORS_INVALID_SELECTION'
  | 'SAFETENSORS_RESERVED_NAME'

export interface SafetensorsErrorFields {
  /** The full name of the tensor at fault. */
  readonly tensor?: string | undefined
  /** The file at fault; set by callers that know one, see {@link withPath}. */
  readonly path?: string | undefined
  /**
   * The values that the message names, for programs. Integers above 2^53 - 1 are bigints; byte positions count from the
   * first byte of the JSON.
   */
  readonly details?: Readonly<Record<string, unknown>> | undefined
  readonly cause?: unknown
}

/** Every failure of this package that is caused by data; wrong use by the caller is a TypeError or RangeError. */
export class SafetensorsError extends Error {
  readonly code: SafetensorsErrorCode
  readonly tensor: string | undefined
  readonly path: string | undefined
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: SafetensorsErrorCode, message: string, fields: SafetensorsErrorFields = {}) {
    super(message, fields.cause === undefined ? undefined : { cause: fields.cause })
    this.name = 'SafetensorsError'
    this.code = code
    this.tensor = fields.tensor
    this.path = fields.path
    this.details = fields.details ?? {}
  }
}

/**
 * The same error with the file's name in its message and in `path`; meant for `throw withPath(error, path)`.
 * Anything that is not a SafetensorsError, or that already names a file, comes back as it is.
 */
export function withPath(error: unknown, path: string): unknown {
  if (!(error instanceof SafetensorsError) || error.path !== undefined) return error
  const { code, tensor, details, cause } = error
  return new SafetensorsError(code, `${error.message} (file ${quoteName(path, 1000)})`, {
    tensor,
    path,
    details,
    cause,
  })
}

const MAX_QUOTED_LENGTH = 80 // UTF-16 code units; hostile names may have a hundred million
// What JSON leaves as it is, but a terminal obeys or hides: C1 controls, line separators, text direction marks, BOM.
const UNPRINTABLE = /[\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g

/** A name for an error message: JSON-escaped, in quotes, and cut to `maxLength` code units. */
export function quoteName(name: string, maxLength: number = MAX_QUOTED_LENGTH): string {
  const cut = name.length > maxLength
  const shown = cut ? `${name.slice(0, maxLength).replace(/[\ud800-\udbff]$/, '')}…` : name
  return JSON.stringify(shown).replace(UNPRINTABLE, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
