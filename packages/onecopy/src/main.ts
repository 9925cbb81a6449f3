#!/usr/bin/env node
import { CommanderError } from 'commander'
import { buildProgram } from './command-line.ts'
import { CommandError } from './errors.ts'
import { messageLines } from './terminal/error-message.ts'

/** Exit codes: what was asked for failed, or could not be understood. */
const EXIT_FAILED = 1
const EXIT_MISUSED = 2

// A reader that has seen enough (`| head`) closes the pipe; that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit()
  throw error
})

try {
  await buildProgram().parseAsync()
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has said what is wrong; help and version come here too, with code 0.
    process.exitCode = error.exitCode === 0 ? 0 : EXIT_MISUSED
  } else {
    process.stderr.write(`${messageLines(error, process.env['ONECOPY_DEBUG'] === '1').join('\n')}\n`)
    process.exitCode = error instanceof CommandError ? error.exitCode : EXIT_FAILED
  }
}
