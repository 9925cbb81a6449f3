import { existsSync, readdirSync, readlinkSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { FileLock } from '../src/file-lock.ts'
import { startBeside, testFolder, until } from './sockets.ts'
import { ask, BUILT_LIBRARY, describeWithAddon, failure } from './support.ts'

function take(path: string): FileLock {
  const lock = FileLock.take(path)
  if (!(lock instanceof FileLock)) throw new TypeError(`not taken: ${JSON.stringify(lock)}`)
  return lock
}

/** Descriptors of this process that are this file. */
function descriptorsOf(path: string): string[] {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path
    } catch {
      return false // of this very listing
    }
  })
}

describeWithAddon('FileLock', () => {
  test('is held against other processes and against this one until it is closed', () => {
    const path = join(testFolder(), 'lock')
    const lock = take(path)
    const script = `const lock = memory.FileLock.take(input); answer(lock === 'held' ? [lock, memory.FileLock.isHeld(input)] : 'taken')`
    expect(ask(script, { input: path })).toEqual(['held', true])
    expect(FileLock.take(path)).toBe('held')
    expect(FileLock.isHeld(path)).toBe(true)
    lock.close()
    lock.close()
    expect(FileLock.isHeld(path)).toBe(false)
    expect(ask(script, { input: path })).toBe('taken')
  })

  test('is not ended or disturbed by those who look at its file', () => {
    const path = join(testFolder(), 'lock')
    using lock = take(path)
    writeFileSync(path, 'who')
    expect(FileLock.isHeld(path)).toBe(true)
    expect(FileLock.take(path)).toBe('held')
    expect(lock.path).toBe(path)
  })

  test('of a file that its holder removes goes to whoever makes the next one', () => {
    const path = join(testFolder(), 'lock')
    const first = take(path)
    rmSync(path)
    using second = take(path)
    first.close()
    expect(FileLock.take(path)).toBe('held')
    expect(second.path).toBe(path)
    renameSync(path, `${path}2`)
    expect(FileLock.isHeld(path)).toBe(false)
    expect(FileLock.isHeld(`${path}2`)).toBe(true)
  })

  test('is freed when its process is killed', async () => {
    const path = join(testFolder(), 'lock')
    const child = startBeside(
      `globalThis.lock = memory.FileLock.take(input); say('locked'); setInterval(() => {}, 1000)`,
      path,
    )
    expect(await child.line()).toBe('"locked"')
    expect(FileLock.take(path)).toBe('held')
    child.kill()
    await child.ended
    take(path).close()
  })

  test('is freed when its thread is terminated, with no descriptor left', async () => {
    const path = join(testFolder(), 'lock')
    const code = `
      const { parentPort, workerData } = require('node:worker_threads')
      import(workerData.library).then(({ FileLock }) => {
        globalThis.lock = FileLock.take(workerData.path)
        parentPort.postMessage('locked')
        setInterval(() => {}, 1000)
      })`
    const worker = new Worker(code, { eval: true, workerData: { library: BUILT_LIBRARY, path } })
    await new Promise((resolve) => worker.once('message', resolve))
    expect(FileLock.take(path)).toBe('held')
    await worker.terminate()
    await until(() => descriptorsOf(path).length === 0)
    take(path).close()
    expect(descriptorsOf(path)).toEqual([])
  })

  test('follows no symlink, and names what is missing', async () => {
    const folder = testFolder()
    symlinkSync(join(folder, 'target'), join(folder, 'link'))
    expect((await failure(() => FileLock.take(join(folder, 'link')), 'LOCK_FAILED')).errnoName).toBe('ELOOP')
    expect(existsSync(join(folder, 'target'))).toBe(false)
    expect((await failure(() => FileLock.take(join(folder, 'no', 'lock')), 'LOCK_FAILED')).errnoName).toBe('ENOENT')
    expect(FileLock.isHeld(join(folder, 'no', 'lock'))).toBe(false)
  })
})
