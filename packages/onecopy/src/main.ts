#!/usr/bin/env node
import { CommanderError } from 'commander'
import { buildProgram } from './command-line.ts'
import { CommandError } from './errors.ts'
import { messageLines } from './terminal/error-message.ts'
import { print } from './terminal/print.ts'

/** Exit codes: what was asked for failed, or could not be understood. */
const EXIT_FAILED = 1
const EXIT_MISUSED = 2

// A reader that has seen enough (`| head`) closes the pipe; that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit()
  const message = `Cannot write to the standard output: ${error.message}`
  print(messageLines(new CommandError('OUTPUT_UNWRITABLE', message, { cause: error }), false), process.stderr)
  process.exit(EXIT_FAILED)
})
// Whoever closed it does not want to read errors either.
process.stderr.on('error', () => process.exit(EXIT_FAILED))

try {
  await buildProgram().parseAsync()
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has said what is wrong; help and version come here too, with code 0.
    process.exitCode = error.exitCode === 0 ? 0 : EXIT_MISUSED
  } else {
    print(messageLines(error, process.env['ONECOPY_DEBUG'] === '1'), process.stderr)
    process.exitCode = error instanceof CommandError ? error.exitCode : EXIT_FAILED
  }
}
