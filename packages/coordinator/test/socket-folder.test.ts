import { chmodSync, chownSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { prepareSocketFolder } from '../src/socket-folder.ts'
import { refusal, temporaryFolder } from './support.ts'

const isRoot = process.geteuid?.() === 0

async function refused(folder: string): Promise<string> {
  const error = await refusal(() => prepareSocketFolder(join(folder, 'socket')))
  expect(error).toMatchObject({ name: 'CoordinatorError', code: 'SOCKET_UNSAFE' })
  expect(error.message).toContain(`"${folder}"`)
  return error.message
}

describe('prepareSocketFolder()', () => {
  it('makes a missing folder, and those above it, for the owner alone', () => {
    const folder = join(temporaryFolder(), 'a', 'b')
    const before = process.umask(0)
    try {
      prepareSocketFolder(join(folder, 'socket'))
    } finally {
      process.umask(before)
    }
    expect([folder, join(folder, '..')].map((path) => statSync(path).mode & 0o777)).toEqual([0o700, 0o700])
  })

  it.skipIf(!isRoot)('lets the members of a group pass through a folder that it makes, and no other', () => {
    const folder = join(temporaryFolder(), 'a')
    prepareSocketFolder(join(folder, 'socket'), 4711)
    expect(statSync(folder)).toMatchObject({ gid: 4711, uid: 0 })
    expect(statSync(folder).mode & 0o777).toBe(0o710)
    const own = join(temporaryFolder(), 'own')
    mkdirSync(own, { mode: 0o700 })
    prepareSocketFolder(join(own, 'socket'), 4711)
    expect(statSync(own).mode & 0o777).toBe(0o700)
  })

  it('takes a folder that others may enter but not write to', () => {
    const folder = temporaryFolder()
    for (const mode of [0o700, 0o750, 0o755, 0o711]) {
      chmodSync(folder, mode)
      prepareSocketFolder(join(folder, 'socket'))
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
    expect(await refused(join(base, 'dangling'))).toContain('Cannot make')
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
