import { inspect } from 'node:util'
import { limitBehind } from '@onecopy/sharedarraybuffer-utils'
import { printable } from './printable.ts'

/** What the message of an error says that a limit of the process or machine caused. */
export const NAMES_A_LIMIT: RegExp = /\b(?:ulimit|sysctl|memory\.max)\b/

/**
 * What the command says about an error on stderr: one line for what is known (errors with a `code`), the stack for what
 * should not have happened.
 * @param debug stack, fields and causes for every error
 */
export function messageLines(error: unknown, debug: boolean): string[] {
  const code = errorCode(error)
  if (error instanceof Error && code !== null && !debug) {
    // Whatever failed last, such as the start of a process, may name only that.
    const limit = limitBehind(error)
    const more = limit === null || NAMES_A_LIMIT.test(error.message) ? '' : `: ${limit}`
    return [printable(`onecopy: ${error.message}${more} (${code})`)]
  }
  const details = inspect(error, { depth: 4, breakLength: 120 }).split('\n').map(printable)
  return debug && code !== null ? details : ['onecopy: unexpected failure, please report it:', ...details]
}

/** The stable code of an error of this project or of Node, or null. */
export function errorCode(error: unknown): string | null {
  const code = (error as { readonly code?: unknown } | null | undefined)?.code
  return typeof code === 'string' ? code : null
}
