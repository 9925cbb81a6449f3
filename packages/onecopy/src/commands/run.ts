import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { resolve } from 'node:path'
import { coordinatorStatus } from '@onecopy/client'
import { CoordinatorError, type CoordinatorStatus, defaultSocketPath } from '@onecopy/protocol'
import { CommandError } from '../errors.ts'
import { QUESTIONS } from './questions.ts'

/** The options of `onecopy run`. */
export interface RunOptions {
  readonly socket?: string
  readonly checkpoint?: string
}

/** What shells exit with for a program that is not there, and for one that they may not start. */
const EXIT_NOT_FOUND = 127
const EXIT_NOT_STARTED = 126

/** Added to a signal's number by shells, for a program that it ended. */
const EXIT_BY_SIGNAL = 128

const PASSED_ON = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

/**
 * Starts a program with ONECOPY_SOCKET and ONECOPY_CHECKPOINT in its environment and waits for its end.
 * @returns what this process should exit with
 * @throws CoordinatorError COORDINATOR_UNREACHABLE, CHECKPOINT_UNKNOWN; CommandError PROGRAM_NOT_STARTED
 */
export async function run(program: string, args: readonly string[], options: RunOptions): Promise<number> {
  const path = resolve(options.socket ?? defaultSocketPath())
  const status = await coordinatorStatus({ socket: path, name: QUESTIONS.run })
  const checkpoint = chooseCheckpoint(status, options.checkpoint ?? process.env['ONECOPY_CHECKPOINT'])
  const found = { ONECOPY_SOCKET: path, ...(checkpoint !== null && { ONECOPY_CHECKPOINT: checkpoint }) }
  const child = spawn(program, args, { stdio: 'inherit', env: { ...process.env, ...found } })
  const passOn = (signal: NodeJS.Signals): void => {
    if (!terminalTells(signal)) child.kill(signal)
  }
  for (const signal of PASSED_ON) process.on(signal, passOn)
  return new Promise((settle, reject) => {
    child.on('error', (cause) => reject(notStarted(program, cause)))
    child.on('exit', (code, signal) => settle(code ?? EXIT_BY_SIGNAL + constants.signals[signal!]))
  })
}

/**
 * The checkpoint for the program's environment: the one that was asked for, else the only one there is. A program that
 * several are open to names those that it wants.
 */
function chooseCheckpoint({ checkpoints }: CoordinatorStatus, wanted: string | undefined): string | null {
  const known = checkpoints
    .filter(({ versions }) => versions.some(({ state }) => state !== 'releasing'))
    .map(({ name }) => name)
  if (wanted === undefined || wanted === '') return known.length === 1 ? known[0]! : null
  if (known.includes(wanted)) return wanted
  const list = known.length === 0 ? 'it has none' : `it has ${known.join(', ')}`
  const message = `The coordinator has no checkpoint ${JSON.stringify(wanted)}; ${list}`
  throw new CoordinatorError('CHECKPOINT_UNKNOWN', message, { checkpoint: wanted, candidates: known })
}

/** Whether a terminal sends a signal to the program as well: Ctrl-C goes to the whole foreground group. */
function terminalTells(signal: NodeJS.Signals): boolean {
  if (signal === 'SIGTERM') return false
  try {
    // After the name in parentheses: state, parent, group, session, terminal, and the terminal's foreground group.
    const stat = readFileSync('/proc/self/stat', 'utf8')
    const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return group === foreground
  } catch {
    return process.stdin.isTTY
  }
}

function notStarted(program: string, cause: NodeJS.ErrnoException): CommandError {
  const missing = cause.code === 'ENOENT'
  const reason = missing ? 'there is no such program' : cause.message
  const exitCode = missing ? EXIT_NOT_FOUND : EXIT_NOT_STARTED
  return new CommandError('PROGRAM_NOT_STARTED', `Cannot start "${program}": ${reason}`, { cause, exitCode })
}
