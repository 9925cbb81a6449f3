/** Every code that `CommandError` can carry; each has its entry in `docs/errors.md`. */
export type CommandErrorCode =
  | 'BENCH_LIMIT_TOO_SMALL'
  | 'BENCH_NO_BYTES'
  | 'BENCH_PROCESS_FAILED'
  | 'BENCH_REPORT_UNWRITABLE'
  | 'BLOB_DAMAGED'
  | 'DESCRIPTION_INVALID'
  | 'DEMO_DISK_FULL'
  | 'DEMO_GENERATION_FAILED'
  | 'DEMO_PROCESS_FAILED'
  | 'DEMO_THREADS_MISSING'
  | 'FILE_ENDED_EARLY'
  | 'FILE_INVALID'
  | 'GLOB_INVALID'
  | 'OUTPUT_UNWRITABLE'
  | 'POLICY_MISSING'
  | 'PROGRAM_NOT_STARTED'

/** Facts that an error carries beside its message. */
export interface CommandErrorFields {
  readonly cause?: unknown
  /** What the command exits with. @default 1 */
  readonly exitCode?: number
}

/** A failure of the `onecopy` command itself; what a checkpoint does wrong keeps the error of its own package. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  readonly code: CommandErrorCode
  readonly exitCode: number

  constructor(code: CommandErrorCode, message: string, { cause, exitCode = 1 }: CommandErrorFields = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.exitCode = exitCode
  }
}
