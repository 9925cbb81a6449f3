// @ts-check
import { spawn } from 'node:child_process'
import { constants } from 'node:os'

/**
 * @typedef {object} ChildOptions
 * @property {string} [cwd]
 * @property {NodeJS.ProcessEnv | undefined} [env] this process's own by default
 * @property {'capture' | 'inherit'} [output] where stdout and stderr go; `capture` keeps them together, in order
 * @property {'ignore' | 'inherit'} [stdin]
 */

/**
 * @typedef {object} ChildResult
 * @property {number} code the exit code; 128 + n after signal n, 127 when the command could not be started
 * @property {string} output what was captured
 * @property {number} seconds
 */

/**
 * Runs a command without a shell and never throws: a command that cannot be started is a result like any other.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {ChildOptions} [options]
 * @returns {Promise<ChildResult>}
 */
export function runChild(command, args, { cwd, env, output = 'capture', stdin = 'ignore' } = {}) {
  const started = performance.now()
  const stream = output === 'capture' ? 'pipe' : 'inherit'
  return new Promise((resolve) => {
    // Node refuses to start npm's and npx's .cmd files on Windows without a shell.
    const shell = process.platform === 'win32' && !command.endsWith('.exe')
    const child = spawn(command, args, { cwd, env, shell, stdio: [stdin, stream, stream] })
    /** @type {Buffer[]} */
    const chunks = []
    child.stdout?.on('data', (chunk) => chunks.push(chunk))
    child.stderr?.on('data', (chunk) => chunks.push(chunk))

    // Ctrl-C reaches the whole process group, a SIGTERM only this process. Either way the child ends first and may clean
    // up after itself; then this process ends by the same signal instead of going on with its next step.
    /** @type {NodeJS.Signals | null} */
    let received = null
    /** @param {NodeJS.Signals} signal */
    const stop = (signal) => {
      received = signal
      if (signal === 'SIGTERM') child.kill(signal)
    }
    process.on('SIGINT', stop)
    process.on('SIGTERM', stop)

    /** @param {number} code @param {string} [message] */
    const finish = (code, message = '') => {
      process.off('SIGINT', stop)
      process.off('SIGTERM', stop)
      if (received !== null) process.kill(process.pid, received)
      const seconds = (performance.now() - started) / 1000
      resolve({ code, output: Buffer.concat(chunks).toString('utf8') + message, seconds })
    }
    child.on('error', (error) => finish(127, `Cannot start ${command}: ${error.message}\n`))
    child.on('close', (code, signal) => finish(code ?? 128 + (signal === null ? 0 : constants.signals[signal])))
  })
}
