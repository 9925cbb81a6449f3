import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, lstatSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Access } from '../src/access.ts'
import { prepareSocketFolder } from '../src/socket-folder.ts'
import { othersCanReach, refusal, temporaryFolder } from './support.ts'

const isRoot = process.geteuid?.() === 0
// Below a folder that others cannot enter, no folder can let them in.
const reachable = othersCanReach(tmpdir())

const ALONE = new Access({})

/** A folder whose way others can go, as far as the machine's own folders let them. */
function reachableFolder(): string {
  const folder = temporaryFolder()
  chmodSync(folder, 0o755)
  return folder
}

const modeOf = (path: string): number => statSync(path).mode & 0o777

async function refused(folder: string, access = ALONE, named = folder): Promise<string> {
  const error = await refusal(() => prepareSocketFolder(join(folder, 'socket'), access))
  expect(error).toMatchObject({ name: 'CoordinatorError', code: 'SOCKET_UNSAFE' })
  expect(error.message).toContain(`"${named}"`)
  return error.message
}

describe('prepareSocketFolder()', () => {
  it('gives up where no folder can be made', () => {
    const entry = new URL('../dist/index.js', import.meta.url).href
    const start = `import { startCoordinator } from '${entry}'
      await startCoordinator({ socket: '/proc/self/none/socket' }).catch(({ code, message }) => console.log(code, message))`
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', start], {
      encoding: 'utf8',
      timeout: 30_000,
    })
    expect(stdout).toMatch(/^SOCKET_UNSAFE Cannot make the socket's folder "\/proc\/self\/none": E/)
  })

  it('makes a missing folder, and those above it, for the owner alone', () => {
    const folder = join(temporaryFolder(), 'a', 'b')
    const before = process.umask(0)
    try {
      prepareSocketFolder(join(folder, 'socket'), ALONE)
    } finally {
      process.umask(before)
    }
    expect([folder, join(folder, '..')].map((path) => statSync(path).mode & 0o777)).toEqual([0o700, 0o700])
  })

  it.skipIf(!reachable)('lets the members of a group pass through what it makes, and no other', () => {
    const folder = join(reachableFolder(), 'a', 'b')
    prepareSocketFolder(join(folder, 'socket'), new Access({ socketGroup: 4711 }))
    for (const made of [folder, join(folder, '..')]) {
      expect(statSync(made)).toMatchObject({ gid: 4711, uid: 0 })
      expect(modeOf(made)).toBe(0o710)
    }
  })

  it
    .skipIf(!reachable)
    .each([
      { allowedUids: [4711] },
      { allowedGids: [4711] },
      { publisherUids: [4711] },
      { publisherGids: [4711] },
      { socketGroup: 4711, allowedUids: [4712] },
      { socketGroup: 4711, allowedGids: [4712] },
    ])('lets everybody pass through what it makes where no one group is meant: %j', (options) => {
    const folder = join(reachableFolder(), 'a', 'b')
    prepareSocketFolder(join(folder, 'socket'), new Access(options))
    expect([folder, join(folder, '..')].map(modeOf)).toEqual([0o711, 0o711])
  })

  it.skipIf(!reachable)(
    'lets them pass through a folder of its own that an earlier coordinator made for nobody else',
    () => {
      const folder = join(reachableFolder(), 'a')
      prepareSocketFolder(join(folder, 'socket'), ALONE)
      for (const name of ['socket.lock', 'socket.ledger', 'socket.ledger.new']) writeFileSync(join(folder, name), '')
      expect(modeOf(folder)).toBe(0o700)
      prepareSocketFolder(join(folder, 'socket'), new Access({ allowedUids: [4711] }))
      expect(modeOf(folder)).toBe(0o711)
      prepareSocketFolder(join(folder, 'socket'), ALONE)
      expect(modeOf(folder)).toBe(0o711)
    },
  )

  it.skipIf(!reachable)('gives a folder of its own to another group than before', () => {
    const folder = join(reachableFolder(), 'a')
    for (const socketGroup of [4711, 4712]) {
      prepareSocketFolder(join(folder, 'socket'), new Access({ socketGroup }))
      expect([statSync(folder).gid, modeOf(folder)]).toEqual([socketGroup, 0o710])
    }
  })

  it.skipIf(!reachable)(
    'leaves a folder with other things in it as it is, and refuses one that keeps out who may use the socket',
    async () => {
      const folder = join(reachableFolder(), 'home')
      mkdirSync(folder, { mode: 0o700 })
      writeFileSync(join(folder, 'diary'), '')
      const message = await refused(folder, new Access({ allowedUids: [4711] }))
      expect(message).toContain('keeps out user 4711, who may use the socket: it has mode 0700')
      expect(await refused(folder, new Access({ socketGroup: 4711 }))).toContain('keeps out the members of group 4711')
      expect(modeOf(folder)).toBe(0o700)
      chmodSync(folder, 0o711)
      prepareSocketFolder(join(folder, 'socket'), new Access({ allowedUids: [4711] }))
      expect(modeOf(folder)).toBe(0o711)
    },
  )

  it.skipIf(!reachable)(
    'refuses a folder below one that keeps out who may use the socket, and makes nothing there',
    async () => {
      const shut = join(reachableFolder(), 'shut')
      mkdirSync(shut, { mode: 0o700 })
      for (const options of [{ allowedUids: [4711] }, { allowedGids: [4711] }, { socketGroup: 4711 }]) {
        expect(await refused(join(shut, 'a', 'b'), new Access(options), shut)).toContain('keeps out')
      }
      expect(lstatSync(join(shut, 'a'), { throwIfNoEntry: false })).toBeUndefined()
      prepareSocketFolder(join(shut, 'a', 'socket'), new Access({ allowedUids: [process.geteuid!()] }))
    },
  )

  it('takes a folder that others may enter but not write to', () => {
    const folder = temporaryFolder()
    for (const mode of [0o700, 0o750, 0o755, 0o711]) {
      chmodSync(folder, mode)
      prepareSocketFolder(join(folder, 'socket'), ALONE)
      expect(statSync(folder).mode & 0o777).toBe(mode)
    }
  })

  it.each([0o777, 0o1777, 0o770, 0o702])('refuses a folder of mode %o', async (mode) => {
    const folder = join(temporaryFolder(), 'open')
    mkdirSync(folder)
    chmodSync(folder, mode)
    expect(await refused(folder)).toContain(`has mode 0${mode.toString(8)}; it must be`)
  })

  it('refuses a symlink, also to a folder that would do, and one that leads nowhere', async () => {
    const base = temporaryFolder()
    mkdirSync(join(base, 'real'), { mode: 0o700 })
    symlinkSync(join(base, 'real'), join(base, 'link'))
    symlinkSync(join(base, 'nowhere'), join(base, 'dangling'))
    expect(await refused(join(base, 'link'))).toContain('is a symlink')
    expect(await refused(join(base, 'dangling'))).toContain('is a symlink')
  })

  it('refuses a file in its place', async () => {
    const file = join(temporaryFolder(), 'file')
    writeFileSync(file, '')
    expect(await refused(file)).toContain('is not a folder')
    expect(await refused(join(file, 'below'))).toContain('ENOTDIR')
  })

  it.skipIf(!isRoot)('refuses a folder of another user', async () => {
    const folder = join(temporaryFolder(), 'foreign')
    mkdirSync(folder, { mode: 0o700 })
    chownSync(folder, 65534, 65534)
    expect(await refused(folder)).toContain('belongs to user 65534')
  })
})
