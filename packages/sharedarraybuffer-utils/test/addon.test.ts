import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { describe, expect, test } from 'vitest'
import { addon, addonFailure, addonPath, fromNative, requireAddon, systemFailure } from '../src/addon.ts'
import { ask, temporaryFolder, writePattern } from './support.ts'

const PACKAGE = fileURLToPath(new URL('..', import.meta.url))

describe('addon', () => {
  const folder = temporaryFolder()
  const path = writePattern(folder, 'weights', 100)
  const abi = process.versions.modules

  // Everything that needs the addon, and what works without.
  const ATTEMPT = `
    import { openSync } from 'node:fs'
    const attempt = (call) => { try { call(); return 'no error' } catch ({ code, message }) { return [code, message] } }
    const descriptor = memory.openRegularFile(input.path)
    const copy = await memory.copyToHeap(descriptor, input.path, 100, [{ begin: 1, end: 100 }])
    const { backings, missing, ...rest } = memory.capabilities()
    answer({ failure: memory.addonFailure, backings, missing, rest, count: memory.mappingCount(),
      mapFile: attempt(() => memory.mapFile(input.path)), mapDescriptor: attempt(() => memory.mapDescriptor(descriptor, input.path)),
      adopt: attempt(() => memory.adoptFileMapping({ backing: 'file', id: 1, path: input.path })),
      missingFile: attempt(() => memory.mapFile(input.path + '.missing'))[0],
      heap: new Uint8Array(copy.buffer(1, 2))[0], rss: memory.processMemory().rssBytes > 0 })`

  interface Answer {
    readonly failure: string
    readonly missing: readonly string[]
  }

  function withoutAddon(options: { library?: string; env?: Record<string, string> }): Answer {
    const answer = ask(ATTEMPT, { input: { path }, ...options }) as Answer
    const message = `The native addon is not available: ${answer.failure}`
    const refused = ['ADDON_UNAVAILABLE', message]
    const expected = { backings: ['heap'], count: 0, heap: 31, rss: true, missingFile: 'ENOENT' }
    expect(answer).toMatchObject({ ...expected, mapFile: refused, mapDescriptor: refused, adopt: refused })
    expect(answer.missing).toEqual([expect.stringContaining(answer.failure)])
    expect(answer).toHaveProperty('rest.pageBytes', null)
    expect(answer).toHaveProperty('rest.populateRead', false)
    return answer
  }

  /** A copy of the built package with other bytes, or none, in the addon's place. */
  function brokenPackage(name: string, bytes: Uint8Array | null): { library: string; file: string } {
    const copy = join(folder, name)
    cpSync(join(PACKAGE, 'dist'), join(copy, 'dist'), { recursive: true })
    cpSync(join(PACKAGE, 'package.json'), join(copy, 'package.json'))
    const file = join(copy, 'prebuilds', `${process.platform}-${process.arch}`, `abi${abi}.node`)
    mkdirSync(dirname(file), { recursive: true })
    if (bytes === null) rmSync(dirname(file), { recursive: true })
    else writeFileSync(file, bytes)
    return { library: pathToFileURL(join(copy, 'dist', 'index.js')).href, file }
  }

  test('ONECOPY_SKIP_NATIVE leaves heap backing alone, and says so', () => {
    expect(withoutAddon({ env: { ONECOPY_SKIP_NATIVE: '1' } }).failure).toBe('ONECOPY_SKIP_NATIVE is set')
  })

  test.skipIf(process.platform !== 'linux').each([
    ['missing', (): null => null, 'no such file'],
    ['garbage', () => Buffer.from('this is no library'), 'file too short'],
    ['empty', () => Buffer.alloc(0), 'file too short'],
    ['zeros', () => Buffer.alloc(100_000), 'invalid ELF header'],
  ] as const)(
    'a file of the addon that is %s is told as found, required and the command that mends it',
    (name, bytes, found) => {
      const { library, file } = brokenPackage(name, bytes())
      const { failure } = withoutAddon({ library, env: { ONECOPY_SKIP_NATIVE: '' } })
      expect(failure).toMatch(/^found: /)
      expect(failure).toContain(found)
      expect(failure).toContain(`required: ${file}, built for Node ABI ${abi} (Node ${process.version})`)
      expect(failure).toContain('to mend: npm rebuild @onecopy/sharedarraybuffer-utils')
    },
  )

  test('addonFailure is null exactly when there is an addon, and requireAddon() gives it', () => {
    expect(addonFailure === null).toBe(addon !== null)
    if (addon !== null) expect(requireAddon()).toBe(addon)
    expect(addonPath).toBe(join(PACKAGE, 'prebuilds', `${process.platform}-${process.arch}`, `abi${abi}.node`))
  })

  test('systemFailure() and fromNative() turn a failed system call into facts and a sentence, and nothing else', () => {
    const native = Object.assign(new TypeError('mmap failed'), { errno: 13, syscall: 'mmap', path: '/x' })
    const facts = { errno: 13, errnoName: 'EACCES', syscall: 'mmap', path: '/x' }
    expect(systemFailure(native)).toEqual(facts)
    expect(systemFailure(Object.assign(native, { actualBytes: 5 }))).toEqual({ ...facts, actualBytes: 5 })
    expect(fromNative(native, 'MAP_FAILED', 'Cannot map "/x"')).toMatchObject({
      ...{ ...facts, code: 'MAP_FAILED', actualBytes: 5, cause: native },
      message: 'Cannot map "/x": mmap failed with EACCES',
    })
    for (const other of [new TypeError('x'), 'text', null, undefined, { errno: 1, syscall: 'x' }]) {
      expect(systemFailure(other)).toBeNull()
      expect(fromNative(other, 'MAP_FAILED', 'x')).toBe(other)
    }
  })
})
