import { spawn } from 'node:child_process'
import { chmodSync, openSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { adoptDescriptor, openRegularFile } from '../src/descriptor.ts'
import { connectUnix, listenUnix, lockFile, sendDatagram, UnixListener, UnixStream } from '../src/unix-socket.ts'
import { canImport } from './python.ts'
import { descriptorCount, isCloseOnExec, listenAt, socketPath, startBeside, testFolder, until } from './sockets.ts'
import { ask, BECOME_NOBODY, CAN_BECOME_NOBODY, describeWithAddon, failure, writePattern } from './support.ts'

describeWithAddon('listenUnix() and connectUnix()', () => {
  test('give the file of the socket its mode in bind itself', () => {
    const before = process.umask(0)
    try {
      for (const mode of [0o600, 0o660]) {
        const path = socketPath()
        listenUnix(path, mode).close()
        expect(statSync(path).mode & 0o777).toBe(mode)
      }
      process.umask(0o077)
      const path = socketPath()
      listenUnix(path, 0o660).close()
      expect(statSync(path).mode & 0o777).toBe(0o600)
    } finally {
      process.umask(before)
    }
  })

  test('refuse a path that does not fit into an address, and take the longest that does', async () => {
    const folder = testFolder()
    const manyBytes = join(folder, 'ä'.repeat(60))
    const fitting = Buffer.from(`${folder}/${'s'.repeat(200)}`)
      .subarray(0, 107)
      .toString()
    const descriptor = listenUnix(fitting)
    const stream = connectUnix(fitting)
    stream.close()
    descriptor.close()
    const tooLong = `${fitting}s`
    for (const path of [tooLong, manyBytes]) {
      for (const call of [() => listenUnix(path), () => connectUnix(path), () => sendDatagram(path, 'x')]) {
        const error = await failure(call, 'SOCKET_FAILED')
        expect(error).toMatchObject({ errnoName: 'ENAMETOOLONG', path })
        expect(error.message).toContain(`${Buffer.byteLength(path)} bytes; a unix socket's has at most 107`)
      }
    }
  })

  test('name the system’s reason: in use, missing, nobody listening, full queue', async () => {
    const before = descriptorCount()
    const path = socketPath()
    const descriptor = listenUnix(path, 0o600, 1)
    expect((await failure(() => listenUnix(path), 'SOCKET_FAILED')).errnoName).toBe('EADDRINUSE')
    expect((await failure(() => connectUnix(`${path}.no`), 'SOCKET_FAILED')).errnoName).toBe('ENOENT')
    const waiting = [connectUnix(path), connectUnix(path)]
    expect((await failure(() => connectUnix(path), 'SOCKET_FAILED')).errnoName).toBe('EAGAIN')
    for (const stream of waiting) stream.close()
    descriptor.close()
    expect((await failure(() => connectUnix(path), 'SOCKET_FAILED')).errnoName).toBe('ECONNREFUSED')
    await until(() => descriptorCount() <= before)
  })

  test.skipIf(!CAN_BECOME_NOBODY)('connectUnix() names EACCES to users whom the mode leaves out', async () => {
    const path = socketPath()
    listenAt(path)
    chmodSync(join(path, '..'), 0o711)
    const script = `${BECOME_NOBODY} try { memory.connectUnix(input) } catch ({ code, errnoName }) { answer([code, errnoName]) }`
    expect(ask(script, { input: path })).toEqual(['SOCKET_FAILED', 'EACCES'])
  })

  test('a descriptor that cannot be watched is a failure with its reason, and is closed', async () => {
    const before = descriptorCount()
    const file = openRegularFile(writePattern(testFolder(), 'f', 10))
    expect((await failure(() => new UnixStream(file), 'SOCKET_FAILED')).syscall).toBe('epoll_ctl')
    const other = adoptDescriptor(openSync('/dev/null', 'r'))
    await failure(
      () =>
        new UnixListener(
          other,
          () => {},
          () => {},
        ),
      'SOCKET_FAILED',
    )
    expect(descriptorCount()).toBe(before)
  })
})

describeWithAddon('lockFile()', () => {
  test('is held against other processes until its descriptor is closed', () => {
    const path = join(testFolder(), 'lock')
    const descriptor = lockFile(path)!
    expect(isCloseOnExec(descriptor.number)).toBe(true)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    const script = `const lock = memory.lockFile(input); answer(lock === null ? 'held' : 'free')`
    expect(ask(script, { input: path })).toBe('held')
    expect(lockFile(path)).toBeNull()
    descriptor.close()
    expect(ask(script, { input: path })).toBe('free')
  })

  test('is freed when its process is killed', async () => {
    const path = join(testFolder(), 'lock')
    const child = startBeside(
      `globalThis.lock = memory.lockFile(input); say('locked'); setInterval(() => {}, 1000)`,
      path,
    )
    expect(await child.line()).toBe('"locked"')
    expect(lockFile(path)).toBeNull()
    child.kill()
    await child.ended
    const descriptor = lockFile(path)
    expect(descriptor).not.toBeNull()
    descriptor!.close()
  })

  test('follows no symlink and names what is missing', async () => {
    const folder = testFolder()
    const target = join(folder, 'target')
    symlinkSync(target, join(folder, 'link'))
    expect((await failure(() => lockFile(join(folder, 'link')), 'SOCKET_FAILED')).errnoName).toBe('ELOOP')
    expect(statSync(target, { throwIfNoEntry: false })).toBeUndefined()
    expect((await failure(() => lockFile(join(folder, 'no', 'lock')), 'SOCKET_FAILED')).errnoName).toBe('ENOENT')
  })
})

describeWithAddon('sendDatagram()', () => {
  const server = `import socket, sys
address = sys.argv[1].replace("@", "\\0", 1) if sys.argv[1][0] == "@" else sys.argv[1]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind(address); print("bound", flush=True)
print(s.recv(4096).decode(), flush=True)`

  test.skipIf(!canImport('socket'))('reaches a socket with a path, and one with an abstract address', async () => {
    for (const address of [socketPath(), `@onecopy-test-${process.pid}`]) {
      const child = spawn('python3', ['-c', server, address])
      let output = ''
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        output += text
      })
      const ended = new Promise((resolve) => child.on('close', resolve))
      await until(() => output.includes('bound'))
      sendDatagram(address, 'READY=1\nSTATUS=ä')
      await ended
      expect(output).toBe('bound\nREADY=1\nSTATUS=ä\n')
    }
  })

  test('names the reason when nobody is there', async () => {
    const before = descriptorCount()
    expect(await failure(() => sendDatagram(socketPath(), 'x'), 'SOCKET_FAILED')).toMatchObject({
      errnoName: 'ENOENT',
      syscall: 'sendto',
    })
    expect(descriptorCount()).toBe(before)
  })
})
