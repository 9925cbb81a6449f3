import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Descriptor, openRegularFile } from '../src/descriptor.ts'
import { FileLease } from '../src/file-lease.ts'
import { ask, describeWithAddon, temporaryFolder } from './support.ts'

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

  test('is refused while somebody has the file open for writing, and can be had afterwards', async () => {
    const { path, descriptor } = openFile()
    const writing = openSync(path, 'r+')
    const refused = expect.objectContaining({ code: 'LEASE_REFUSED', errnoName: 'EAGAIN' })
    expect(() => new FileLease(descriptor, path, () => {})).toThrow(refused)
    closeSync(writing)
    new FileLease(descriptor, path, () => {}).close()
    descriptor.close()
  })

  const LEASE_IN_THREAD = `
    import { spawn } from 'node:child_process'
    const worker = inWorker(
      "globalThis.lease = new memory.FileLease(memory.openRegularFile(workerData), workerData, () => {" +
        "parentPort.postMessage('writer'); if (!workerData.endsWith('kept')) lease.close() });" +
      "parentPort.postMessage('taken'); setInterval(() => {}, 1000)", input)
    await message(worker)
    const writing = () => {
      const child = spawn('sh', ['-c', ': > "$0"', input])
      return new Promise((resolve) => child.once('exit', (code) => resolve(code)))
    }`

  test('taken in a thread, tells that thread and leaves the process alone', () => {
    const { path } = openFile()
    const script = `${LEASE_IN_THREAD}
      const told = message(worker)
      const written = writing()
      answer([await told, await written])
      process.exit(0)`
    expect(ask(script, { input: path })).toEqual(['writer', 0])
  })

  test('lets writers go on when its thread is terminated, before and after it was told', () => {
    const { path } = openFile()
    const kept = `${path}.kept`
    writeFileSync(kept, 'whole')
    const script = `${LEASE_IN_THREAD}
      if (!input.endsWith('kept')) {
        await worker.terminate()
        answer(await writing())
      } else {
        const told = message(worker)
        const written = writing()
        await told
        await worker.terminate()
        answer(await written)
      }
      process.exit(0)`
    for (const input of [path, kept]) expect(ask(script, { input })).toBe(0)
  })

  test('takes no SIGIO from those who listen for it', () => {
    const { path } = openFile()
    const script = `
      let heard = 0
      process.on('SIGIO', () => heard++)
      const lease = new memory.FileLease(memory.openRegularFile(input), input, () => {})
      for (let sent = 1; sent <= 5; sent++) {
        process.kill(process.pid, 'SIGIO')
        while (heard < sent) await turn()
      }
      lease.close()
      answer(heard)
      process.exit(0)`
    expect(ask(script, { input: path })).toBe(5)
  })
})

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => {}
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}
