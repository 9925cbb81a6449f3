// @ts-check
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** A trial that hangs must not hang the run. */
const TIMEOUT_MS = 300_000

/** Children that still run; they end with this process, however it ends. */
/** @type {Set<import('node:child_process').ChildProcess>} */
const running = new Set()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/**
 * @typedef {object} Trial
 * @property {Record<string, unknown>} report the JSON line that the program printed last
 * @property {number} processMs from before the process was started until it had ended
 * @property {bigint} startedNs CLOCK_MONOTONIC, which is one clock for all processes of a machine
 */

/**
 * Runs a program in a fresh process until it ends, and takes the last line that it prints as JSON.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ env?: NodeJS.ProcessEnv, timeoutMs?: number }} [options]
 * @returns {Promise<Trial>}
 */
export function runTrial(command, args, { env = process.env, timeoutMs = TIMEOUT_MS } = {}) {
  return new Promise((resolve, reject) => {
    const startedNs = process.hrtime.bigint()
    const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
    let endedNs = startedNs
    const texts = { stdout: '', stderr: '' }
    /** @param {string} why */
    const fail = (why) => reject(new Error(`${command} ${args.join(' ')}: ${why}\n${texts.stderr}`.trim()))
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
    running.add(child)
    child.stdout.setEncoding('utf8').on('data', (text) => {
      texts.stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text) => {
      texts.stderr += text
    })
    child.once('exit', () => {
      endedNs = process.hrtime.bigint()
    })
    child.once('error', (error) => {
      clearTimeout(timer)
      running.delete(child)
      fail(error.message)
    })
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      running.delete(child)
      if (code !== 0) return fail(`ended with ${signal ?? `exit code ${code}`}, required is exit code 0`)
      const line = texts.stdout.trimEnd().split('\n').at(-1) ?? ''
      try {
        resolve({ report: JSON.parse(line), processMs: Number(endedNs - startedNs) / 1e6, startedNs })
      } catch {
        fail(`printed "${line.slice(0, 200)}" last, required is one line of JSON`)
      }
    })
  })
}

/** The packages as npm has them: one file for each entry, see scripts/bundle-package.mjs. Threads inherit it. */
export const AS_PUBLISHED = ['-C', 'bundle']

/**
 * A program of `benchmarks/trials` under this node.
 *
 * @param {string} name
 * @param {unknown} argument arrives as JSON in `process.argv[2]`
 * @param {{ nodeOptions?: readonly string[], env?: NodeJS.ProcessEnv, timeoutMs?: number }} [options]
 */
export function runNodeTrial(name, argument, { nodeOptions = [], ...options } = {}) {
  return runTrial(
    process.execPath,
    [...AS_PUBLISHED, ...nodeOptions, trialPath(name), JSON.stringify(argument)],
    options,
  )
}

/** @param {string} name a file of `benchmarks/trials` or, with its folder, of `benchmarks` */
export function trialPath(name) {
  return fileURLToPath(new URL(name.includes('/') ? `../${name}` : `../trials/${name}`, import.meta.url))
}

/**
 * Milliseconds from before the process was started to the moment that its program reports as `atNs`.
 *
 * @param {Trial} trial
 */
export function sinceStart({ report, startedNs }) {
  return Number(BigInt(`${report['atNs']}`) - startedNs) / 1e6
}

/**
 * Numbers out of a trial's report; the others are left out.
 *
 * @param {Trial} trial
 * @returns {Record<string, number>}
 */
export function numbersOf({ report }) {
  /** @type {Record<string, number>} */
  const numbers = {}
  for (const [name, value] of Object.entries(report)) if (typeof value === 'number') numbers[name] = value
  return numbers
}
