// @ts-check
// Runs before anything is installed, on any Node version: only node: modules, and nothing newer than the version check.
import { createHash } from 'node:crypto'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isMain } from './is-main.mjs'
import { runChild } from './run-child.mjs'

export const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** The workspace cannot be made ready; the message says what was found, what is required and how to mend it. */
export class SetUpError extends Error {
  /** @override */
  name = 'SetUpError'
}

/** @typedef {{ packageManager: string, engines: { node: string } }} Manifest */

/**
 * Makes a clone ready to run: the right Node, the dependencies of the lock file, everything built. Reports on stderr.
 *
 * @throws {SetUpError}
 * @returns {Promise<void>}
 */
export async function setUp() {
  /** @type {Manifest} */
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  checkNode(manifest.engines.node, process.versions.node)
  await install(manifest.packageManager)
  await build(manifest.packageManager)
}

/**
 * @param {string} required `>=major.minor`
 * @param {string} found `major.minor.patch`
 */
export function checkNode(required, found) {
  const [requiredMajor = 0, requiredMinor = 0] = required.replace(/^>=/, '').split('.').map(Number)
  const [major = 0, minor = 0] = found.split('.').map(Number)
  if (major > requiredMajor || (major === requiredMajor && minor >= requiredMinor)) return
  throw new SetUpError(
    `Found Node.js ${found} at ${process.execPath}, required is ${required}. ` +
      'Install a current release from https://nodejs.org (with nvm: nvm install 22 && nvm use 22), then run this again',
  )
}

/** @param {string} packageManager */
async function install(packageManager) {
  const stampFile = join(ROOT, 'node_modules', '.installed-from')
  const stamp = installStamp(packageManager)
  if (readIfPresent(stampFile) === stamp) return
  // Gone first: an install that stops half-way must not leave a stamp that fits some earlier lock file.
  rmSync(stampFile, { force: true })
  await step('installing dependencies', packageManager, ['install', '--frozen-lockfile'])
  writeFileSync(stampFile, stamp)
}

/**
 * What node_modules depends on: the lock file, who reads it, and the binary interface that dependencies' addons are for.
 *
 * @param {string} packageManager
 */
function installStamp(packageManager) {
  const lock = createHash('sha256')
    .update(readFileSync(join(ROOT, 'pnpm-lock.yaml')))
    .digest('hex')
  return `${lock} ${packageManager} ${process.platform}-${process.arch} abi-${process.versions.modules}\n`
}

/** @param {string} packageManager */
async function build(packageManager) {
  // Loose: turbo otherwise hides from the tasks what they need here, the compiler (CC, CXX) and pnpm's settings below.
  const options = ['--output-logs=errors-only', '--env-mode=loose']
  await step('building', packageManager, ['exec', 'turbo', 'run', 'build', ...options])
}

/**
 * One pnpm command, through npx: the version is the pinned one, and turbo finds the pnpm that it needs on the PATH.
 *
 * @param {string} name
 * @param {string} packageManager
 * @param {readonly string[]} args
 */
async function step(name, packageManager, args) {
  process.stderr.write(`${name} …\n`)
  const env = {
    ...process.env,
    TURBO_TELEMETRY_DISABLED: '1',
    // npx has already chosen the pinned version. Without this pnpm looks its own releases up to write the pin into the
    // lock file, and a frozen install fails because the lock file does not have it.
    pnpm_config_pm_on_fail: 'ignore',
    // Replacing an old node_modules asks a question, which needs a terminal.
    pnpm_config_confirm_modules_purge: 'false',
  }
  const { code, output, seconds } = await runChild(
    'npx',
    ['--yes', '--loglevel=error', packageManager.replace(/\+.*$/, ''), ...args],
    { cwd: ROOT, env },
  )
  if (code === 0) {
    process.stderr.write(`${name}: done in ${seconds.toFixed(1)} s\n`)
    return
  }
  const command = `npx ${packageManager} ${args.join(' ')}`
  throw new SetUpError(
    `${output}\nCannot finish ${name}: "${command}" ended with exit code ${code}, required is 0. ${hint(code)}`,
  )
}

/** @param {number} code */
function hint(code) {
  return code === 127
    ? 'npx comes with Node.js: install Node.js from https://nodejs.org together with npm, then run this again'
    : 'Mend what the output above names, then run this again'
}

/** @param {string} path */
function readIfPresent(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}

/**
 * For the scripts that cannot go on without it: prints the reason on stderr.
 *
 * @returns {Promise<boolean>} whether the workspace is ready
 */
export async function setUpOrExplain() {
  try {
    await setUp()
    return true
  } catch (error) {
    if (!(error instanceof SetUpError)) throw error
    process.stderr.write(`${error.message}\n`)
    return false
  }
}

if (isMain(import.meta.url) && !(await setUpOrExplain())) process.exitCode = 1
