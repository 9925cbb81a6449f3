// @ts-check
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'

/** pip downloads: numpy and safetensors are 20 MB, torch for the CPU is 200 MB. */
const INSTALL_TIMEOUT_MS = 600_000
const TORCH_INDEX = 'https://download.pytorch.org/whl/cpu'

const run = promisify(execFile)

/**
 * @typedef {object} Python
 * @property {string} command the interpreter itself: version managers put slow wrappers in front of it
 * @property {string} version
 * @property {Readonly<Record<string, string>>} packages version by name
 */

/** @typedef {{ python: Python, reason: null } | { python: null, reason: string }} PythonOrReason */

/** @type {Map<string, Promise<PythonOrReason>>} */
const found = new Map()

/**
 * A Python that has the packages: the machine's own, or a virtual environment in the benchmarks' folder.
 *
 * @param {readonly string[]} packages such as `safetensors`, `numpy`, `torch`
 * @param {Pick<import('./benchmark.mjs').RunOptions, 'scratch' | 'mayInstall' | 'log'>} options
 * @returns {Promise<PythonOrReason>}
 */
export function findPython(packages, options) {
  const key = packages.join(' ')
  const known = found.get(key) ?? search(packages, options)
  found.set(key, known)
  return known
}

/**
 * @param {readonly string[]} packages
 * @param {Parameters<typeof findPython>[1]} options
 * @returns {Promise<PythonOrReason>}
 */
async function search(packages, { scratch, mayInstall, log }) {
  const own = await askFor('python3', packages)
  if (own.python !== null) return own
  const environment = join(scratch.cache, `python-${packages.includes('torch') ? 'torch' : 'plain'}`)
  const inEnvironment = join(environment, 'bin', 'python')
  const earlier = await askFor(inEnvironment, packages)
  if (earlier.python !== null) return earlier
  if (!mayInstall) return { python: null, reason: own.reason }
  log(`installing ${packages.join(', ')} into ${environment}`)
  /** @param {string[]} args */
  const pip = (...args) =>
    run(inEnvironment, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...args], {
      timeout: INSTALL_TIMEOUT_MS,
    })
  try {
    await run('python3', ['-m', 'venv', environment], { timeout: INSTALL_TIMEOUT_MS })
    // From its own index: the one that pip asks by default has torch with 2 GB of GPU libraries.
    if (packages.includes('torch')) await pip('--index-url', TORCH_INDEX, 'torch')
    await pip(...packages.filter((name) => name !== 'torch'))
  } catch (error) {
    return { python: null, reason: `cannot install ${packages.join(', ')}: ${firstLine(error)}` }
  }
  return askFor(inEnvironment, packages)
}

/**
 * @param {string} command
 * @param {readonly string[]} packages
 * @returns {Promise<PythonOrReason>}
 */
async function askFor(command, packages) {
  const script = `import importlib, json, platform, sys
versions = {name: importlib.import_module(name).__version__ for name in ${JSON.stringify(packages)}}
print(json.dumps({"command": sys.executable, "version": platform.python_version(), "packages": versions}))`
  try {
    const { stdout } = await run(command, ['-c', script])
    return { python: JSON.parse(stdout), reason: null }
  } catch (error) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error)
    const reason = code === 'ENOENT' ? 'there is no python3' : `python3 lacks a package: ${firstLine(error)}`
    return { python: null, reason }
  }
}

/** @param {unknown} error */
function firstLine(error) {
  const { stderr, message } = /** @type {{ stderr?: string, message: string }} */ (error)
  return (stderr || message).trim().split('\n').at(-1) ?? ''
}
