// @ts-check
// Builds the addon with the compiler alone: no Python, no make, no download. The headers are those that lie beside the
// running node, so the binary always fits the node that asked for it; each Node ABI has its own file in prebuilds/.
import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const folder = join(root, 'prebuilds', `${process.platform}-${process.arch}`)
const output = join(folder, `abi${process.versions.modules}.node`)
const stampFile = `${output}.stamp`
const FLAGS = [
  '-std=gnu++20',
  '-O2',
  '-fPIC',
  '-pthread',
  '-Wall',
  '-Wextra',
  '-Wno-unused-parameter',
  '-fvisibility=hidden',
  '-DNAPI_VERSION=8',
  '-DNAPI_CPP_EXCEPTIONS',
  // Without it a call that worker.terminate() interrupts ends the whole process: its failure cannot be thrown any more.
  '-DNODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
  '-DNODE_GYP_MODULE_NAME=onecopy',
]

/** @param {string} reason @returns {never} */
function leaveWithoutAddon(reason) {
  // Not a failure: the library then reads checkpoints into ordinary shared memory ("heap" backing) and says so.
  console.warn(
    `onecopy: the native addon is not built: ${reason}. Everything works on heap backing, with one copy a process.`,
  )
  process.exit(0)
}

function findHeaders() {
  const prefix = dirname(dirname(realpathSync(process.execPath)))
  const candidates = [process.env['ONECOPY_NODE_HEADERS'], join(prefix, 'include', 'node')]
  return candidates.find((folder) => folder && existsSync(join(folder, 'node_api.h')))
}

function findCompiler() {
  for (const name of [process.env['CXX'], 'c++', 'g++', 'clang++']) {
    if (!name) continue
    try {
      return { name, version: execFileSync(name, ['--version'], { encoding: 'utf8', stdio: 'pipe' }).split('\n')[0] }
    } catch {
      // The next candidate.
    }
  }
  return undefined
}

/** @param {string} compiler @param {string[]} args @returns {Promise<void>} */
function compile(compiler, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(compiler, args, { stdio: ['ignore', 'inherit', 'inherit'] })
    child.on('error', reject)
    child.on('exit', (code) =>
      code === 0 ? resolve() : reject(new Error(`${compiler} ${args.join(' ')}: exit ${code}`)),
    )
  })
}

const strict = process.argv.includes('--strict')
if (process.env['ONECOPY_SKIP_NATIVE']) leaveWithoutAddon('ONECOPY_SKIP_NATIVE is set')
if (process.platform !== 'linux') leaveWithoutAddon(`it is for Linux, and this is ${process.platform}`)
if (process.arch !== 'x64' && process.arch !== 'arm64')
  leaveWithoutAddon(`it is for x64 and arm64, and this is ${process.arch}`)
// A binary that came with the package needs no compiler; in the repository it is compared with its sources below.
if (!strict && existsSync(output) && !existsSync(stampFile)) process.exit(0)
const headers = findHeaders()
if (!headers)
  leaveWithoutAddon(`no node_api.h beside ${process.execPath} (install Node's headers, or set ONECOPY_NODE_HEADERS)`)
const compiler = findCompiler()
if (!compiler)
  leaveWithoutAddon('no C++ compiler found (looked for $CXX, c++, g++, clang++; Debian: apt-get install g++)')

const napiHeaders = dirname(createRequire(join(root, 'package.json')).resolve('node-addon-api/package.json'))
const native = join(root, 'native')
const names = readdirSync(native)
  .filter((name) => /\.(cc|h)$/.test(name))
  .sort()
const hash = createHash('sha256').update(JSON.stringify([process.version, process.arch, compiler, headers, FLAGS]))
for (const name of names) hash.update(name).update(readFileSync(join(native, name)))
const stamp = hash.digest('hex')
if (existsSync(output) && existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp) process.exit(0)

let failure = ''
const objects = join(folder, `.objects-${process.versions.modules}-${process.pid}`)
try {
  mkdirSync(objects, { recursive: true })
} catch (error) {
  if (strict) throw error
  leaveWithoutAddon(`cannot write to ${folder} (${error instanceof Error ? error.message : error})`)
}
try {
  const sources = names.filter((name) => name.endsWith('.cc'))
  const queue = [...sources]
  const work = async () => {
    for (let name = queue.shift(); name; name = queue.shift()) {
      const object = join(objects, `${name}.o`)
      await compile(compiler.name, [
        ...FLAGS,
        `-I${headers}`,
        `-I${napiHeaders}`,
        '-c',
        join(native, name),
        '-o',
        object,
      ])
    }
  }
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), sources.length) }, work))
  // Linked under another name and renamed into place: a process that has the old binary mapped keeps it whole.
  const linked = join(objects, 'onecopy.node')
  await compile(compiler.name, [
    '-shared',
    '-pthread',
    '-o',
    linked,
    ...sources.map((name) => join(objects, `${name}.o`)),
  ])
  renameSync(linked, output)
  writeFileSync(stampFile, stamp)
} catch (error) {
  // An install on somebody's machine goes on without the addon; our own builds say --strict and fail.
  if (strict) throw error
  failure = `the compiler failed (${compiler.version}; it must know C++20)`
} finally {
  rmSync(objects, { recursive: true, force: true })
}
if (failure) leaveWithoutAddon(failure)
