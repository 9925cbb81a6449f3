import { fstatSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { adoptDescriptor, openRegularFile, reopen } from '../src/descriptor.ts'
import { ask, describeWithAddon, descriptorsOf, failure, temporaryFolder, writePattern } from './support.ts'

describe('Descriptor', () => {
  test('is open until it is closed; close() is idempotent, and DESCRIPTOR_CLOSED follows', async () => {
    const path = writePattern(temporaryFolder(), 'file', 10)
    const file = openRegularFile(path)
    expect([file.closed, fstatSync(file.number).size, descriptorsOf(path)]).toEqual([false, 10, 1])
    file.close()
    file[Symbol.dispose]()
    expect([file.closed, descriptorsOf(path)]).toEqual([true, 0])
    await failure(() => file.number, 'DESCRIPTOR_CLOSED')
    await failure(() => file.share(), 'DESCRIPTOR_CLOSED')
  })

  test('share() gives a further owner: the file stays open until all are closed', () => {
    const path = writePattern(temporaryFolder(), 'file', 10)
    const file = openRegularFile(path)
    const shares = [file.share(), file.share()]
    file.close()
    expect(shares.map(({ number }) => fstatSync(number).size)).toEqual([10, 10])
    expect(descriptorsOf(path)).toBe(1)
    for (const share of shares) share.close()
    expect(descriptorsOf(path)).toBe(0)
  })

  test('openRegularFile() names what a path is instead, and tells the system’s reason as node does', async () => {
    const folder = temporaryFolder()
    for (const path of [folder, '/dev/null']) await failure(() => openRegularFile(path), 'FILE_NOT_REGULAR')
    expect(() => openRegularFile(join(folder, 'no'))).toThrow(
      expect.objectContaining({ code: 'ENOENT', syscall: 'stat' }),
    )
  })
})

describeWithAddon('Descriptor', () => {
  test('adoptDescriptor() refuses a number that is not open, and makes others close-on-exec', () => {
    expect(() => adoptDescriptor(99_999)).toThrow(expect.objectContaining({ code: 'EBADF', syscall: 'fcntl' }))
    using file = adoptDescriptor(openSync('/dev/null', 'r'))
    expect(fstatSync(file.number).isCharacterDevice()).toBe(true)
  })

  test('reopen() is an open file of its own, or null where there is none to be had', () => {
    const path = writePattern(temporaryFolder(), 'file', 10)
    using file = openRegularFile(path)
    using again = reopen(file)
    expect(fstatSync(again!.number).ino).toBe(fstatSync(file.number).ino)
    expect(again!.number).not.toBe(file.number)
    using pipe = adoptDescriptor(openSync('/dev/null', 'r'))
    expect(reopen(pipe, true)).toBeNull()
  })

  test('is closed by the garbage collector when nobody closed it', () => {
    const script = `
      for (let at = 0; at < 100; at++) memory.openRegularFile(input)
      await collectUntil(() => descriptorsOf(input) === 0)
      answer(descriptorsOf(input))`
    expect(ask(script, { input: writePattern(temporaryFolder(), 'file', 10) })).toBe(0)
  })

  // Each holds whatever its call gave when the thread ends; none of them is closed by JavaScript.
  const HOLDERS: Record<string, string> = {
    'open files': `memory.openRegularFile(path)`,
    'files that were opened again': `(() => { using file = memory.openRegularFile(path); return file.share() })()`,
    'sealed memory': `memory.sealBytes(new Uint8Array(5000), 'onecopy-end').descriptor`,
    'memory that is being filled': `memory.sealFile(memory.openRegularFile(path), path, 20_000_000).catch(() => {})`,
    locks: `memory.lockFile(path)`,
    'write watches': `new memory.FileLease(memory.openRegularFile(path), path, () => {})`,
    listeners: `memory.listenUnix(path + Math.random())`,
    'quick reads': `memory.readQuickly({ shardPaths: [path] }, { dtypeBits: { U8: 8 }, maxHeaderBytes: 1e6, maxHeadersBytes: 1e6, maxIndexBytes: 1e6, maxShards: 9 })`,
    'received descriptors': `(() => {
      const socket = path + Math.random()
      const received = []
      new memory.UnixListener(memory.listenUnix(socket), (near) => near.start({ onData: (_, more) => received.push(...more), onEnd() {} }), () => {})
      memory.connectUnix(socket).write(Buffer.from('x'), [memory.openRegularFile(path)])
      return received
    })()`,
  }

  test.each(
    Object.keys(HOLDERS).flatMap((what) => ['terminate()', 'process.exit()', 'a throw'].map((end) => [what, end])),
  )('%s go with a thread that %s ends', (what, end) => {
    const folder = temporaryFolder()
    const path = join(folder, 'weights')
    const header = Buffer.from(JSON.stringify({ a: { dtype: 'U8', shape: [2e7], data_offsets: [0, 2e7] } }))
    writeFileSync(path, Buffer.concat([Buffer.of(header.byteLength, 0, 0, 0, 0, 0, 0, 0), header, Buffer.alloc(2e7)]))
    const script = `
        const links = () => readdirSync('/proc/self/fd').map(linkOf).filter((link) => /^socket:|memfd:onecopy|weights/.test(link)).sort()
        const before = links()
        for (let round = 0; round < 5; round++) {
          const worker = inWorker(input.thread, input)
          worker.once('error', () => {})
          const over = ended(worker)
          await Promise.race([over, new Promise((resolve) => worker.once('message', resolve))])
          if (input.end === 'terminate()') await worker.terminate()
          await over
        }
        await collectUntil(() => links().length === before.length)
        answer({ before, after: links() })
        process.exit(0)`
    const thread = `
        const path = workerData.path
        globalThis.kept = Array.from({ length: 5 }, () => ${HOLDERS[what]})
        setTimeout(() => {
          parentPort.postMessage('holding')
          if (workerData.end === 'process.exit()') process.exit(0)
          if (workerData.end === 'a throw') throw new Error('the end')
        }, 5)
        setInterval(() => {}, 1000)`
    const found = ask(script, { input: { path, end, thread } }) as { before: string[]; after: string[] }
    expect(found.after).toEqual(found.before)
  })
})
