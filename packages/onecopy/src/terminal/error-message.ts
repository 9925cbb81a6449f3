import { inspect } from 'node:util'
import { printable } from './printable.ts'

/**
 * What the command says about an error on stderr: one line for what is known (errors with a `code`), the stack for what
 * should not have happened.
 * @param debug stack, fields and causes for every error
 */
export function messageLines(error: unknown, debug: boolean): string[] {
  const code = errorCode(error)
  if (error instanceof Error && code !== null && !debug) return [printable(`onecopy: ${error.message} (${code})`)]
  const details = inspect(error, { depth: 4, breakLength: 120 }).split('\n').map(printable)
  return debug && code !== null ? details : ['onecopy: unexpected failure, please report it:', ...details]
}

/** The stable code of an error of this project or of Node, or null. */
export function errorCode(error: unknown): string | null {
  const code = (error as { readonly code?: unknown } | null | undefined)?.code
  return typeof code === 'string' ? code : null
}
