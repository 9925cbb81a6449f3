import { limitBehind } from '@onecopy/sharedarraybuffer-utils/mapped'

/** Every code that `CheckpointError` can carry; each has its entry in `docs/errors.md`. */
export type CheckpointErrorCode =
  | 'SOURCE_INVALID'
  | 'SOURCE_NOT_FOUND'
  | 'SOURCE_AMBIGUOUS'
  | 'HUB_NOT_CACHED'
  | 'INDEX_UNREADABLE'
  | 'SHARD_NOT_FOUND'
  | 'SHARD_UNREADABLE'
  | 'SHARD_FOREIGN'
  | 'SHARD_TWICE'
  | 'SHARD_LEFT_OUT'
  | 'TENSOR_IN_NO_SHARD'
  | 'TENSOR_IN_OTHER_SHARD'
  | 'TENSOR_IN_TWO_SHARDS'
  | 'TENSOR_NOT_IN_INDEX'
  | 'TENSOR_NOT_FOUND'
  | 'TENSOR_NOT_CONVERTIBLE'
  | 'TENSOR_TOO_LARGE'
  | 'CHECKPOINT_CHANGED'
  | 'CHECKPOINT_CLOSED'
  | 'CHECKPOINT_TOO_LARGE'
  | 'CONFIG_INVALID'
  | 'DIRECTORY_INVALID'
  | 'SELECTION_OTHER_CHECKPOINT'
  | 'SELECTION_SCATTERED'
  | 'PART_MISSING'
  | 'SAVE_INVALID'
  | 'SAVE_FAILED'
  | 'SAVE_IN_PROGRESS'
  | 'SAVE_INTERRUPTED'

/** Facts that an error carries beside its message; a key is present only where it is known. */
export interface CheckpointErrorFields {
  /** The file concerned. */
  readonly path?: string
  /** The tensor concerned. */
  readonly tensor?: string
  /** The process concerned. */
  readonly pid?: number
  /** Names or files that the caller may have meant, best first. */
  readonly candidates?: readonly string[]
  readonly cause?: unknown
}

/** A checkpoint that cannot be found, opened, read or saved. Match on `code`: classes do not survive threads. */
export class CheckpointError extends Error {
  override readonly name = 'CheckpointError'
  readonly code: CheckpointErrorCode
  readonly path: string | undefined
  readonly tensor: string | undefined
  readonly pid: number | undefined
  readonly candidates: readonly string[] | undefined

  constructor(code: CheckpointErrorCode, message: string, fields: CheckpointErrorFields = {}) {
    super(message, fields.cause === undefined ? undefined : { cause: fields.cause })
    this.code = code
    this.path = fields.path
    this.tensor = fields.tensor
    this.pid = fields.pid
    this.candidates = fields.candidates
  }
}

/**
 * The text of whatever was thrown, with the limit that it ran into.
 * @param neededFiles see `limitBehind`
 */
export function messageOf(error: unknown, neededFiles?: number): string {
  if (!(error instanceof Error)) return String(error)
  const limit = limitBehind(error)
  if (limit === null) return error.message
  const told = limitBehind(error, neededFiles)!
  return error.message.includes(limit) ? error.message.replace(limit, told) : `${error.message}: ${told}`
}

/** The system's code of an error, such as ENOENT, or undefined. */
export function systemCode(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | null)?.code
}
