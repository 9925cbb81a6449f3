import { mkdirSync, symlinkSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { hubPlaceOf, resolveHubSource, snapshotInFolder } from '../src/hub-cache.ts'
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

/** A variable as a shell also takes it. */
function braced(name: string): string {
  return `$\{${name}}`
}

describe('resolveHubSource() finds the cache by', () => {
  test.each([
    ['HF_HUB_CACHE', (root: string) => root],
    ['HF_HOME', (root: string) => join(root, 'hub')],
    ['HUGGINGFACE_HUB_CACHE', (root: string) => root],
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
    const env = {
      HF_HUB_CACHE: special,
      HUGGINGFACE_HUB_CACHE: '/nowhere',
      HF_HOME: '/nowhere',
      XDG_CACHE_HOME: '/nowhere',
    }
    expect(await resolveHubSource('hf:org/name', env)).toBe(snapshot)
    const older = { HF_HUB_CACHE: '', HUGGINGFACE_HUB_CACHE: special, HF_HOME: '/nowhere' }
    expect(await resolveHubSource('hf:org/name', older)).toBe(snapshot)
  })

  test.each([
    [{ HF_HUB_CACHE: '~/huggingface/hub' }],
    [{ HUGGINGFACE_HUB_CACHE: `${braced('BASE')}/huggingface/hub` }],
    [{ HF_HOME: '$BASE/huggingface' }],
    [{ XDG_CACHE_HOME: '~' }],
  ])('%j, with ~ and variables as in a file of settings', async (settings) => {
    const root = temporaryFolder()
    const snapshot = makeCache(join(root, 'huggingface', 'hub'))
    vi.stubEnv('HOME', root)
    try {
      expect(await resolveHubSource('hf:org/name', { ...settings, BASE: root })).toBe(snapshot)
    } finally {
      vi.unstubAllEnvs()
    }
  })

  test('a variable that there is not as a part of the path, as Python does', async () => {
    const cache = `/no/$SUCH/${braced('ONE')}/~`
    const error = await refusal(resolveHubSource('hf:org/name', { HF_HUB_CACHE: cache }))
    expect(error.path).toBe(join(cache, 'models--org--name'))
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

describe('resolveHubSource() finds below a snapshot', () => {
  test.each([
    ['hf:org/name/unet', 'unet'],
    [`hf:org/name/unet/inner@${COMMIT}`, 'unet/inner'],
    ['hf:org/name/model.safetensors@main', 'model.safetensors'],
  ])('%s', async (source, below) => {
    const cache = temporaryFolder()
    const snapshot = makeCache(cache)
    expect(await resolveHubSource(source, { HF_HUB_CACHE: cache })).toBe(join(snapshot, below))
  })
})

describe('snapshotInFolder() takes', () => {
  test('the folder of a model, and that of its snapshots, for its revision main', async () => {
    const cache = temporaryFolder()
    const snapshot = makeCache(cache)
    const model = join(cache, 'models--org--name')
    expect(await snapshotInFolder(model)).toBe(snapshot)
    expect(await snapshotInFolder(join(model, 'snapshots'))).toBe(snapshot)
    expect(await snapshotInFolder(cache)).toBeNull()
    expect(await snapshotInFolder(snapshot)).toBeNull()
  })

  test('no snapshot by chance where there is no main: it names those that are there', async () => {
    const cache = temporaryFolder()
    makeCache(cache, 'models--org--name', [])
    const error = await refusal(snapshotInFolder(join(cache, 'models--org--name')))
    expect(error).toMatchObject({ code: 'HUB_NOT_CACHED', candidates: [`hf:org/name@${COMMIT}`] })
    expect(error.message).toContain(`hf:org/name@${COMMIT}`)
  })
})

test.each([
  ['/c/models--org--name/snapshots/abc/model.safetensors', 'org/name', 'abc'],
  ['/c/models--org--name/snapshots/abc', 'org/name', 'abc'],
  ['/c/models--gpt2/blobs/0123', 'gpt2', undefined],
])('hubPlaceOf(%j)', (path, repository, snapshot) => {
  expect(hubPlaceOf(path)).toMatchObject({ repository, snapshot })
})

test.each(['/c/model.safetensors', '/c/models--org--name/refs/main', '/c/models--org--name'])(
  'hubPlaceOf(%j) is null',
  (path) => {
    expect(hubPlaceOf(path)).toBeNull()
  },
)

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
    'hf:org\\name',
    'hf:org/name/../x',
    'hf:org/name//x',
    'hf:org/name/',
    'hf:../x',
    'hf:..',
    'hf:org/..',
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
})
