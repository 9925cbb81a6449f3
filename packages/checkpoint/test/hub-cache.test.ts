import { mkdirSync, symlinkSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { resolveHubSource } from '../src/hub-cache.ts'
import { openCheckpoint } from '../src/index.ts'
import { fileOf, refusal, temporaryFolder, tensor, write } from './support.ts'

const COMMIT = '0123456789abcdef0123456789abcdef01234567'

/** A cache as huggingface_hub lays it out: a blob, a snapshot of symlinks, and refs. */
function makeCache(cache: string, repository = 'models--org--name', refs: readonly string[] = ['main']): string {
  const folder = join(cache, repository)
  const snapshot = join(folder, 'snapshots', COMMIT)
  for (const path of [join(folder, 'blobs'), snapshot]) mkdirSync(path, { recursive: true })
  write(join(folder, 'blobs'), 'blob', fileOf([tensor('a')]))
  symlinkSync('../../blobs/blob', join(snapshot, 'model.safetensors'))
  for (const ref of refs) {
    mkdirSync(join(folder, 'refs', dirname(ref)), { recursive: true })
    write(join(folder, 'refs'), ref, COMMIT)
  }
  return snapshot
}

describe('resolveHubSource() finds the cache by', () => {
  test.each([
    ['HF_HUB_CACHE', (root: string) => root],
    ['HF_HOME', (root: string) => join(root, 'hub')],
    ['XDG_CACHE_HOME', (root: string) => join(root, 'huggingface', 'hub')],
    ['HOME', (root: string) => join(root, '.cache', 'huggingface', 'hub')],
  ])('%s', async (variable, cacheBelow) => {
    const root = temporaryFolder()
    const snapshot = makeCache(cacheBelow(root))
    // The home folder comes from the system, which takes it from HOME.
    vi.stubEnv('HOME', root)
    try {
      expect(variable !== 'HOME' || homedir() === root).toBe(true)
      expect(await resolveHubSource('hf:org/name', variable === 'HOME' ? {} : { [variable]: root })).toBe(snapshot)
    } finally {
      vi.unstubAllEnvs()
    }
  })

  test('the more special variable where several are set', async () => {
    const special = temporaryFolder()
    const snapshot = makeCache(special)
    const env = { HF_HUB_CACHE: special, HF_HOME: '/nowhere', XDG_CACHE_HOME: '/nowhere' }
    expect(await resolveHubSource('hf:org/name', env)).toBe(snapshot)
  })
})

describe('resolveHubSource() finds the revision', () => {
  test.each(['', '@main', '@v1.0', '@feature/x', '@refs/pr/1', `@${COMMIT}`])('of hf:org/name%s', async (revision) => {
    const cache = temporaryFolder()
    const snapshot = makeCache(cache, 'models--org--name', ['main', 'v1.0', 'feature/x', 'refs/pr/1'])
    expect(await resolveHubSource(`hf:org/name${revision}`, { HF_HUB_CACHE: cache })).toBe(snapshot)
  })

  test('of a model without an organisation', async () => {
    const cache = temporaryFolder()
    const snapshot = makeCache(cache, 'models--gpt2')
    expect(await resolveHubSource('hf:gpt2', { HF_HUB_CACHE: cache })).toBe(snapshot)
  })
})

test('openCheckpoint() opens hf:org/name from the cache', async () => {
  const cache = temporaryFolder()
  makeCache(cache)
  vi.stubEnv('HF_HUB_CACHE', cache)
  try {
    using checkpoint = await openCheckpoint('hf:org/name')
    expect(checkpoint.names).toEqual(['a'])
  } finally {
    vi.unstubAllEnvs()
  }
})

describe('resolveHubSource() refuses', () => {
  test.each([
    ['hf:org/other', 'hf download org/other'],
    ['hf:org/name@v2', 'hf download org/name --revision v2'],
    ['hf:org/name@$(reboot)', "hf download org/name --revision '$(reboot)'"],
    ["hf:org/name@';reboot;'", "hf download org/name --revision ''\\'';reboot;'\\'''"],
  ])('%s, which is not there, with the command that fetches it', async (source, command) => {
    const cache = temporaryFolder()
    makeCache(cache)
    const error = await refusal(resolveHubSource(source, { HF_HUB_CACHE: cache }))
    expect(error.code).toBe('HUB_NOT_CACHED')
    expect(error.path).toMatch(`${cache}/models--org--`)
    expect(error.message.endsWith(`to fetch it: ${command}`)).toBe(true)
  })

  test.each(['..', '.', '../../..', '/etc', ''])('a cache whose ref says %j', async (content) => {
    const cache = temporaryFolder()
    makeCache(cache)
    write(join(cache, 'models--org--name', 'refs'), 'evil', content)
    expect((await refusal(resolveHubSource('hf:org/name@evil', { HF_HUB_CACHE: cache }))).code).toBe('HUB_NOT_CACHED')
  })

  test.each([
    'hf:',
    'hf:../../x',
    'hf:/etc/passwd',
    'hf:org/name/more',
    'hf:org\\name',
    'hf:org/na me',
    'hf:org/name@',
    'hf:org/name@../../..',
    'hf:org/name@a/../b',
    'hf:org/name@/etc',
    'hf:org/name@.',
    'hf:org/name@main\n',
  ])('%j', async (source) => {
    expect((await refusal(resolveHubSource(source, { HF_HUB_CACHE: temporaryFolder() }))).code).toBe('SOURCE_INVALID')
  })

  test.each(['hf:../x', 'hf:..', 'hf:org/..'])('%s without leaving the cache', async (source) => {
    const root = temporaryFolder()
    const cache = join(root, 'cache')
    makeCache(cache)
    for (const outside of [join(root, 'x'), root]) makeCache(outside, '')
    const error = await refusal(resolveHubSource(source, { HF_HUB_CACHE: cache }))
    expect(error.code).toBe('HUB_NOT_CACHED')
    expect(dirname(error.path!)).toBe(cache)
  })
})
