import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

// What is published, see scripts/bundle-package.mjs. Every file is found, compiled and linked in each thread anew: one more on
// these lists makes every start slower.

const packages = fileURLToPath(new URL('../packages', import.meta.url))

/** The file of an entry such as `@onecopy/checkpoint/adopt`. */
function fileOf(entry: string): string {
  const [, room = 'onecopy', path] = /^(?:@onecopy\/([\w-]+)|onecopy)(?:\/(.+))?$/.exec(entry) ?? []
  const { exports } = createRequire(import.meta.url)(join(packages, room, 'package.json'))
  return join(packages, room, exports[path === undefined ? '.' : `./${path}`].bundle)
}

/** What a file and those that it imports at once consist of: files of ours without the numbers of chunks, and packages of others. */
function loadedBy(file: string, found: Map<string, string> = new Map()): Map<string, string> {
  if (found.has(file)) return found
  const code = readFileSync(file, 'utf8')
  found.set(file, code)
  for (const [, specifier = ''] of code.matchAll(/^(?:import|export)\b(?:[^'"\n]*\bfrom)? ?"([^"\n]+)";$/gm)) {
    if (specifier.startsWith('.')) loadedBy(join(dirname(file), specifier), found)
    else if (/^(?:@onecopy\/|onecopy)/.test(specifier)) loadedBy(fileOf(specifier), found)
    else found.set(specifier, '')
  }
  return found
}

function namesOf(files: Iterable<string>): string[] {
  const short = (file: string): string =>
    file
      .replace(`${packages}/`, '')
      .replace('/bundle/', '/')
      .replace(/-[\w-]{8}\.js$/, '.js')
  return [...files].map(short).sort()
}

const WEIGHTS = ['checkpoint/adopt.js', 'safetensors/tensors.js', 'sharedarraybuffer-utils/mapped.js']

describe('onecopy/worker', () => {
  it('loads a file of each room that holds weights, and no package of others', () => {
    const files = loadedBy(fileOf('onecopy/worker'))
    expect(namesOf(files.keys())).toEqual(
      [...WEIGHTS, 'client/worker-data.js', 'client/worker.js', 'onecopy/worker.js'].sort(),
    )
    expect([...files.values()].join('\n')).not.toMatch(/\b(?:PQueue|Packr|Piscina)\b/)
  })

  it('loads no module of Node that takes long to load', () => {
    const program = `
      const { Worker } = require('node:worker_threads')
      const code = "import('onecopy/worker').then(() => require('node:worker_threads').parentPort.postMessage(process.moduleLoadList))"
      new Worker(code, { eval: true }).once('message', (list) => console.log(JSON.stringify(list)))`
    const { stdout, stderr } = spawnSync(process.execPath, ['-C', 'bundle', '-e', program], {
      cwd: join(packages, '..'),
      encoding: 'utf8',
    })
    expect(stderr).toBe('')
    const modules: string[] = JSON.parse(stdout)
    expect(modules.length).toBeGreaterThan(50)
    for (const name of ['crypto', 'net', 'child_process', 'zlib']) expect(modules).not.toContain(`NativeModule ${name}`)
  })
})

describe('onecopy/attach', () => {
  it('loads what a client needs, and nothing for opening, selecting, saving or pools', () => {
    const files = loadedBy(fileOf('onecopy/attach'))
    const client = [
      'client/attach.js',
      'onecopy/attach.js',
      'protocol/index.js',
      'sharedarraybuffer-utils/descriptors.js',
    ]
    expect(namesOf(files.keys())).toEqual([...WEIGHTS, ...client].sort())
    expect([...files.values()].join('\n')).not.toMatch(/\b(?:PQueue|Piscina)\b/)
  })
})

describe('every bundle', () => {
  it('has the licences of what it holds of others', () => {
    const licences = (room: string): string =>
      readFileSync(join(packages, room, 'bundle', 'THIRD-PARTY-LICENSES.txt'), 'utf8')
    expect(licences('protocol')).toMatch(/^msgpackr [\d.]+ \(MIT\)\n\n.*Permission is hereby granted/s)
    for (const name of ['p-queue', 'p-timeout', 'eventemitter3', 'fastest-levenshtein'])
      expect(licences('checkpoint')).toMatch(new RegExp(`^${name} [\\d.]+ \\(MIT\\)$`, 'm'))
    expect(licences('placement')).toMatch(/^@noble\/hashes [\d.]+ \(MIT\)$/m)
  })

  it('imports nothing but our rooms and what cannot be taken in', () => {
    for (const entry of ['onecopy', '@onecopy/coordinator', '@onecopy/placement']) {
      const others = [...loadedBy(fileOf(entry)).keys()].filter((file) => !file.startsWith(packages))
      expect(others).toEqual([])
    }
  })
})
