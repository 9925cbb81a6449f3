// @ts-check
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { AS_PUBLISHED, trialPath } from './trial.mjs'

/**
 * A program that stays, such as a coordinator or a reader that holds its memory: it prints one line of JSON when it is
 * ready and one for each line that it is asked, see `trials/answer.mjs`. It ends when its input ends, so never later than
 * this process.
 */
export class Program {
  /** @readonly @type {number} */
  pid
  /** What it said when it was ready. @readonly @type {any} */
  ready
  #child
  #lines

  /**
   * @private
   * @param {import('node:child_process').ChildProcess} child
   * @param {AsyncIterator<string>} lines
   * @param {unknown} ready
   */
  constructor(child, lines, ready) {
    this.#child = child
    this.#lines = lines
    this.pid = child.pid ?? 0
    this.ready = ready
  }

  /**
   * @param {string} name of `benchmarks/trials`
   * @param {unknown} argument arrives as JSON in `process.argv[2]`
   * @param {{ nodeOptions?: readonly string[], env?: NodeJS.ProcessEnv }} [options]
   */
  static start(name, argument, { nodeOptions = [], env } = {}) {
    return Program.startCommand(
      process.execPath,
      [...AS_PUBLISHED, ...nodeOptions, trialPath(name), JSON.stringify(argument)],
      env,
    )
  }

  /**
   * @param {string} command
   * @param {readonly string[]} args
   * @param {NodeJS.ProcessEnv} [env]
   * @returns {Promise<Program>}
   */
  static async startCommand(command, args, env = process.env) {
    const child = spawn(command, args, { env, stdio: ['pipe', 'pipe', 'inherit'] })
    child.stdin.on('error', () => {}) // it has ended; the next answer says so
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    return new Program(child, lines, await nextAnswer(lines, args))
  }

  /**
   * @param {unknown} question
   * @returns {Promise<any>}
   */
  async ask(question) {
    this.#child.stdin?.write(`${JSON.stringify(question)}\n`)
    return nextAnswer(this.#lines, this.#child.spawnargs)
  }

  async stop() {
    const { exitCode, signalCode } = this.#child
    if (exitCode !== null || signalCode !== null) return
    const ended = once(this.#child, 'exit')
    this.#child.stdin?.end()
    await ended
  }
}

/**
 * @param {AsyncIterator<string>} lines
 * @param {readonly string[]} args
 */
async function nextAnswer(lines, args) {
  const { value, done } = await lines.next()
  if (done) throw new Error(`${args.join(' ')}: ended without an answer`)
  return JSON.parse(value)
}

/**
 * Runs something while programs are there, and ends them whatever comes of it.
 *
 * @template T
 * @param {readonly Program[]} programs
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withPrograms(programs, work) {
  try {
    return await work()
  } finally {
    await Promise.all(programs.map((program) => program.stop()))
  }
}
