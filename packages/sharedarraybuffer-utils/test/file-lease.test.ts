import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Descriptor, openRegularFile } from '../src/descriptor.ts'
import { FileLease } from '../src/file-lease.ts'
import { describeWithAddon, temporaryFolder } from './support.ts'

describeWithAddon('FileLease', () => {
  function openFile(): { path: string; descriptor: Descriptor } {
    const path = join(temporaryFolder(), 'weights')
    writeFileSync(path, 'whole')
    return { path, descriptor: openRegularFile(path) }
  }

  test('holds a writer up until it is closed, and tells once', async () => {
    const { path, descriptor } = openFile()
    const told: string[] = []
    const writer = deferred()
    const lease = new FileLease(descriptor, path, () => {
      // The file is still whole: the kernel has not let the writer in.
      told.push(readFileSync(path, 'utf8'))
      writer.resolve()
    })
    const cutting = spawn('sh', ['-c', `: > '${path}'`])
    const cut = once(cutting, 'exit')
    await writer.promise
    lease.close()
    await cut
    expect(told).toEqual(['whole'])
    expect(readFileSync(path, 'utf8')).toBe('')
    descriptor.close()
  })

  test('does not mind readers, nor the file being renamed over', async () => {
    const { path, descriptor } = openFile()
    using lease = new FileLease(descriptor, path, () => expect.unreachable('nobody writes'))
    expect(readFileSync(lease.path, 'utf8')).toBe('whole')
    const replacing = spawn('sh', ['-c', `echo other > '${path}.new' && mv '${path}.new' '${path}'`])
    await once(replacing, 'exit')
    expect(readFileSync(path, 'utf8')).toBe('other\n')
    descriptor.close()
  })

  test('is refused while somebody has the file open for writing, and leaves no listener behind', async () => {
    const { path, descriptor } = openFile()
    const writing = openSync(path, 'r+')
    const refused = expect.objectContaining({ code: 'LEASE_REFUSED', errnoName: 'EAGAIN' })
    expect(() => new FileLease(descriptor, path, () => {})).toThrow(refused)
    closeSync(writing)
    new FileLease(descriptor, path, () => {}).close()
    await new Promise((resolve) => setImmediate(resolve))
    expect(process.listenerCount('SIGIO')).toBe(0)
    descriptor.close()
  })
})

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => {}
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}
