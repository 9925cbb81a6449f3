// @ts-check
import { existsSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { runChild } from './run-child.mjs'
import { formatCounts, runVitest } from './run-vitest.mjs'
import { ROOT, setUpOrExplain } from './setup.mjs'

const BUILD_NATIVE = join(ROOT, 'packages', 'sharedarraybuffer-utils', 'scripts', 'build-native.mjs')

/**
 * The node of a major version, from npm: the package holds the executable and, beside it, the headers for addons.
 *
 * @param {string} major
 * @returns {Promise<string | null>} null after its reason was printed
 */
async function fetchNode(major) {
  const name = `node-${process.platform}-${process.arch}`
  const prefix = join(ROOT, '.cache', 'node', major)
  const node = join(prefix, 'node_modules', name, 'bin', 'node')
  if (existsSync(node)) return node
  const flags = ['--no-save', '--no-package-lock', '--no-audit', '--no-fund', '--loglevel=error']
  const { code, output } = await runChild('npm', ['install', '--prefix', prefix, ...flags, `${name}@${major}`], {
    cwd: ROOT,
  })
  if (code === 0 && existsSync(node)) return node
  console.error(
    `${output}Cannot fetch Node.js ${major}: npm install ${name}@${major} ended with exit code ${code}. ` +
      `Required is a published major version; list them with: npm view ${name} versions`,
  )
  return null
}

/**
 * Child processes that a test starts by the name `node` must be the same version.
 *
 * @param {string} node
 * @returns {NodeJS.ProcessEnv}
 */
function environmentFor(node) {
  const path = [dirname(node), process.env['PATH'] ?? ''].join(delimiter)
  /** @type {NodeJS.ProcessEnv} */
  const env = { ...process.env, PATH: path, NODE: node, npm_node_execpath: node }
  // These would make the addon be built against the headers of the other Node.
  delete env['ONECOPY_NODE_HEADERS']
  delete env['npm_config_nodedir']
  return env
}

/**
 * @param {string} major
 * @returns {Promise<boolean>} whether everything passed
 */
async function testOn(major) {
  const node = await fetchNode(major)
  if (node === null) {
    console.log(`node ${major}: could not be fetched`)
    return false
  }
  const env = environmentFor(node)
  const version = (await runChild(node, ['--version'], { env })).output.trim().replace(/^v/, '')
  const addon = await runChild(node, [BUILD_NATIVE], { cwd: ROOT, env })
  // Also without a failure: it says there why an addon was not built, and the tests of the addon are then skipped.
  if (addon.output !== '') console.error(addon.output.trimEnd())
  if (addon.code !== 0) {
    console.log(`node ${version}: the addon does not build`)
    return false
  }
  const tests = await runVitest([], { node, env, output: 'capture' })
  if (tests.failed > 0) console.error(tests.output.trimEnd())
  console.log(`node ${version}: ${formatCounts(tests)} (${tests.seconds.toFixed(1)} s)`)
  return tests.failed === 0
}

const majors = process.argv.slice(2)
if (majors.length === 0 || !majors.every((major) => /^\d+$/.test(major))) {
  console.error(
    `Found the arguments "${majors.join(' ')}", required are major versions of Node.js: node scripts/test-on-node.mjs 22 24`,
  )
  process.exitCode = 2
} else if (await setUpOrExplain()) {
  let passed = true
  for (const major of majors) passed = (await testOn(major)) && passed
  process.exitCode = passed ? 0 : 1
} else {
  process.exitCode = 1
}
