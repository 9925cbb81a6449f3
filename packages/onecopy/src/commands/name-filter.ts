import { GlobError, globMatcher, parseGlob, quoteName } from '@onecopy/safetensors'
import { CommandError } from '../errors.ts'

/** As everywhere when an argument makes no sense. */
const EXIT_MISUSED = 2

/** What those try who know other globs, in which a star goes on behind a dot. */
export const GLOB_HINT = 'a * stops at dots, and ** does not'

/**
 * A test for whole tensor names, in the language of policies.
 * @throws CommandError GLOB_INVALID
 */
export function nameFilter(glob: string): (name: string) => boolean {
  try {
    const find = globMatcher(parseGlob(glob))
    return (name) => find(name) !== null
  } catch (error) {
    if (!(error instanceof GlobError)) throw error
    const fields = { cause: error, exitCode: EXIT_MISUSED }
    throw new CommandError('GLOB_INVALID', `The glob ${quoteName(glob)} ${error.message}`, fields)
  }
}
