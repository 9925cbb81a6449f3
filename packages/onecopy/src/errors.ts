/** Every code that `CommandError` can carry; each has its entry in `docs/errors.md`. */
export type CommandErrorCode = 'DEMO_DISK_FULL' | 'DEMO_GENERATION_FAILED' | 'DEMO_THREADS_MISSING' | 'FILE_ENDED_EARLY'

/** A failure of the `onecopy` command itself; what a checkpoint does wrong keeps the error of its own package. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  readonly code: CommandErrorCode

  constructor(code: CommandErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}
