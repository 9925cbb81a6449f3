import { spawnSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { temporaryFolder } from './support.ts'

const PACKAGE = fileURLToPath(new URL('..', import.meta.url))
const ADDON = join('prebuilds', `${process.platform}-${process.arch}`, `abi${process.versions.modules}.node`)
const supported = process.platform === 'linux' && (process.arch === 'x64' || process.arch === 'arm64')

// Compilers that are told apart by what they say and do; a real one would take half a minute a test.
const COMPILERS = {
  good: 'for argument; do if [ "$previous" = -o ]; then echo built > "$argument"; fi; previous=$argument; done',
  broken: 'echo "error: no such standard" >&2; exit 1',
  linkless: 'case "$*" in *-shared*) exit 1;; esac; for a; do if [ "$p" = -o ]; then : > "$a"; fi; p=$a; done',
}

describe.skipIf(!supported)('build-native', () => {
  const folder = temporaryFolder()
  const headers = join(folder, 'headers')
  mkdirSync(headers)
  writeFileSync(join(headers, 'node_api.h'), '')
  let copies = 0

  function copyPackage(): string {
    const copy = join(folder, `copy-${copies++}`)
    for (const part of ['scripts', 'native', 'package.json']) {
      cpSync(join(PACKAGE, part), join(copy, part), { recursive: true })
    }
    mkdirSync(join(copy, 'node_modules'))
    const napi = dirname(createRequire(join(PACKAGE, 'package.json')).resolve('node-addon-api/package.json'))
    symlinkSync(napi, join(copy, 'node_modules', 'node-addon-api'))
    onTestFinished(() => rmSync(copy, { recursive: true, force: true }))
    return copy
  }

  function compiler(kind: keyof typeof COMPILERS, version = '1.0'): string {
    const file = join(folder, `c++-${kind}-${version}`)
    writeFileSync(
      file,
      `#!/bin/sh\nif [ "$1" = --version ]; then echo "${kind} ${version}"; exit 0; fi\necho "$*" >> "$CALLS"\n${COMPILERS[kind]}\n`,
    )
    chmodSync(file, 0o755)
    return file
  }

  function build(copy: string, cxx: string | undefined, args: string[] = [], more: Record<string, string> = {}) {
    const calls = join(copy, 'calls')
    rmSync(calls, { force: true })
    const bin = join(folder, 'bin')
    mkdirSync(bin, { recursive: true })
    const env = { PATH: bin, CALLS: calls, ONECOPY_NODE_HEADERS: headers, ...(cxx ? { CXX: cxx } : {}), ...more }
    const script = join(copy, 'scripts', 'build-native.mjs')
    const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], { encoding: 'utf8', env })
    const called = existsSync(calls) ? readFileSync(calls, 'utf8').trim().split('\n') : []
    return { status, stdout, stderr, called }
  }

  test('builds every source with the headers of the running node, and leaves only the addon and its stamp', () => {
    const copy = copyPackage()
    const { status, called } = build(copy, compiler('good'), ['--strict'])
    const sources = readdirSync(join(copy, 'native')).filter((name) => name.endsWith('.cc'))
    expect(status).toBe(0)
    expect(called.length).toBe(sources.length + 1)
    for (const source of sources) expect(called.some((line) => line.includes(`/native/${source} `))).toBe(true)
    expect(called.slice(0, -1).every((line) => line.includes(`-I${headers} `))).toBe(true)
    expect(called.at(-1)).toMatch(/^-shared /)
    expect(readFileSync(join(copy, ADDON), 'utf8')).toBe('built\n')
    const name = `abi${process.versions.modules}.node`
    expect(readdirSync(dirname(join(copy, ADDON))).sort()).toEqual([name, `${name}.stamp`])
  })

  test('does nothing the second time, and builds again when source, compiler or headers are others', () => {
    const copy = copyPackage()
    const cxx = compiler('good')
    expect(build(copy, cxx, ['--strict']).status).toBe(0)
    const before = statSync(join(copy, ADDON), { bigint: true })
    expect(build(copy, cxx, ['--strict'])).toMatchObject({ status: 0, stdout: '', stderr: '', called: [] })
    expect(build(copy, cxx)).toMatchObject({ status: 0, called: [] })
    const { mtimeNs, ino } = statSync(join(copy, ADDON), { bigint: true })
    expect({ mtimeNs, ino }).toEqual({ mtimeNs: before.mtimeNs, ino: before.ino })

    appendFileSync(join(copy, 'native', 'mapping.h'), '\n')
    expect(build(copy, cxx).called.length).toBeGreaterThan(1)
    expect(build(copy, cxx).called).toEqual([])
    expect(build(copy, compiler('good', '2.0')).called.length).toBeGreaterThan(1)
    rmSync(join(copy, ADDON))
    expect(build(copy, compiler('good', '2.0')).called.length).toBeGreaterThan(1)
    expect(existsSync(join(copy, ADDON))).toBe(true)
  })

  test.each([[[]], [['--strict']]])('says so and ends well where there is no compiler (arguments: %j)', (args) => {
    const copy = copyPackage()
    const { status, stderr } = build(copy, undefined, args)
    expect(status).toBe(0)
    expect(stderr).toContain('no C++ compiler found')
    expect(stderr).toContain('heap backing')
    expect(existsSync(join(copy, ADDON))).toBe(false)
  })

  test.each(['broken', 'linkless'] as const)(
    'fails with --strict and ends well without when the compiler is %s',
    (kind) => {
      const copy = copyPackage()
      const strict = build(copy, compiler(kind), ['--strict'])
      expect(strict.status).toBe(1)
      expect(strict.stderr).toContain('exit 1')
      const lenient = build(copy, compiler(kind))
      expect(lenient.status).toBe(0)
      expect(lenient.stderr).toContain(`the compiler failed (${kind} 1.0; it must know C++20)`)
      expect(lenient.stderr).toContain('heap backing')
      expect(readdirSync(dirname(join(copy, ADDON)))).toEqual([])
    },
  )

  test('ends well without --strict where nothing can be written', () => {
    const copy = copyPackage()
    writeFileSync(join(copy, 'prebuilds'), 'not a folder')
    expect(build(copy, compiler('good'), ['--strict']).status).toBe(1)
    const { status, stderr } = build(copy, compiler('good'))
    expect(status).toBe(0)
    expect(stderr).toContain('the native addon is not built: cannot write to')
  })

  test('leaves an addon that is there as it is when a later build fails', () => {
    const copy = copyPackage()
    expect(build(copy, compiler('good')).status).toBe(0)
    expect(build(copy, compiler('broken')).status).toBe(0)
    expect(readFileSync(join(copy, ADDON), 'utf8')).toBe('built\n')
  })

  test('builds nothing with ONECOPY_SKIP_NATIVE', () => {
    const copy = copyPackage()
    const { status, stderr, called } = build(copy, compiler('good'), ['--strict'], { ONECOPY_SKIP_NATIVE: '1' })
    expect({ status, called }).toEqual({ status: 0, called: [] })
    expect(stderr).toContain('ONECOPY_SKIP_NATIVE is set')
  })
})
