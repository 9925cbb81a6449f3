import { spawn } from 'node:child_process'
import { chmodSync, stat, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { closeDescriptors, type Descriptor, openRegularFile } from '../src/descriptor.ts'
import { connectUnix } from '../src/unix-socket.ts'
import { canImport } from './python.ts'
import {
  descriptorCount,
  inodeOf,
  isCloseOnExec,
  listenAt,
  listenTo,
  pair,
  socketPath,
  startBeside,
  testFolder,
  until,
} from './sockets.ts'
import {
  ask,
  BECOME_NOBODY,
  CAN_BECOME_NOBODY,
  describeWithAddon,
  failure,
  hasCommand,
  patternBytes,
  runScript,
  startThread,
  writePattern,
} from './support.ts'

const hasPrlimit = hasCommand('prlimit', '--version')

describeWithAddon('UnixStream', () => {
  test('carries bytes both ways, whole and in order, beyond what the kernel buffers', async () => {
    const [near, far] = await pair()
    const atNear = listenTo(near)
    const atFar = listenTo(far)
    const one = patternBytes(3_000_001, 1)
    const other = patternBytes(2_000_003, 2)
    for (let at = 0; at < one.byteLength; at += 100_000) near.write(one.subarray(at, at + 100_000))
    far.write(other)
    await until(() => atFar.bytes().byteLength === one.byteLength && atNear.bytes().byteLength === other.byteLength)
    expect(atFar.bytes().equals(one)).toBe(true)
    expect(atNear.bytes().equals(other)).toBe(true)
    expect([near.pendingBytes, far.pendingBytes]).toEqual([0, 0])
  })

  test('leaves a peer that does not read 253 descriptors at most, and sends the others as it reads', async () => {
    const [near, far] = await pair()
    const file = openRegularFile(writePattern(testFolder(), 'a', 10, 1))
    const sent: number[] = []
    for (const round of [0, 1, 2]) near.write(Buffer.alloc(10, round), Array(200).fill(file), () => sent.push(round))
    near.write(Buffer.alloc(10, 3))
    expect([sent, near.pendingBytes]).toEqual([[0], 30])
    const told = listenTo(far)
    await until(() => told.bytes().byteLength === 40)
    expect([sent, told.descriptors.length, near.pendingBytes]).toEqual([[0, 1, 2], 600, 0])
    expect([...told.bytes()]).toEqual(Array.from({ length: 40 }, (_, at) => Math.floor(at / 10)))
  })

  test('carries 700 descriptors with one message, in order, close-on-exec, and the sender keeps its own', async () => {
    const [near, far] = await pair()
    const told = listenTo(far)
    const folder = testFolder()
    const files = Array.from({ length: 7 }, (_, at) => openRegularFile(writePattern(folder, `${at}`, 10, at)))
    const sent = Array.from({ length: 700 }, (_, at) => files[at % 7]!)
    await new Promise<void>((resolve) => near.write(Buffer.from('abcd'), sent, resolve))
    await until(() => told.descriptors.length === 700 && told.bytes().byteLength === 4)
    const inodesOf = (files: readonly Descriptor[]): number[] => files.map(({ number }) => inodeOf(number))
    expect(inodesOf(told.descriptors)).toEqual(inodesOf(sent))
    expect(told.descriptors.every(({ number }) => isCloseOnExec(number))).toBe(true)
    expect(told.bytes().toString()).toBe('abcd')
    closeDescriptors(files)
  })

  test('gives each message its descriptors before or with its last byte, when messages follow each other', async () => {
    const [near, far] = await pair()
    const file = openRegularFile(writePattern(testFolder(), 'f', 10))
    const counts = [0, 3, 253, 254, 0, 1, 600]
    for (const count of counts) near.write(Buffer.alloc(10, count % 256), Array(count).fill(file))
    const told = listenTo(far)
    await until(() => told.bytes().byteLength === counts.length * 10)
    expect(told.descriptors.length).toBe(counts.reduce((sum, count) => sum + count))
    file.close()
  })

  test('refuses descriptors with fewer bytes than batches, and no bytes at all', async () => {
    const [near] = await pair()
    expect(() => near.write(Buffer.alloc(0))).toThrow(RangeError)
    expect(() => near.write(Buffer.alloc(2), Array(507).fill(0))).toThrow(RangeError)
    expect(near.pendingBytes).toBe(0)
  })

  test('passes descriptors between processes', async () => {
    const path = socketPath()
    const { accepted } = listenAt(path)
    const child = startBeside(
      `import { readSync } from 'node:fs'
      const stream = memory.connectUnix(input)
      const bytes = Buffer.alloc(1)
      let sum = 0, count = 0
      stream.start({
        onData: (_, descriptors) => {
          for (const descriptor of descriptors) {
            readSync(descriptor.number, bytes, 0, 1, 0)
            sum += bytes[0]
            count++
            descriptor.close()
          }
          if (count === 650) { say({ sum, peer: stream.peer.pid }); stream.close() }
        },
        onEnd: () => {},
      })`,
      path,
    )
    await until(() => accepted.length === 1)
    expect(accepted[0]!.peer).toMatchObject({ pid: child.pid, uid: process.geteuid?.(), gid: process.getegid?.() })
    const folder = testFolder()
    const descriptors = Array.from({ length: 650 }, (_, at) => {
      const file = join(folder, `${at}`)
      writeFileSync(file, Uint8Array.of(at % 100))
      return openRegularFile(file)
    })
    accepted[0]!.write(Buffer.from('here'), descriptors)
    const sum = descriptors.reduce((total, _, at) => total + (at % 100), 0)
    expect(JSON.parse(await child.line())).toEqual({ sum, peer: process.pid })
    expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
    closeDescriptors(descriptors)
  })

  test.skipIf(!CAN_BECOME_NOBODY)('names user, group and supplementary groups of a peer of another user', async () => {
    const path = socketPath()
    const { accepted } = listenAt(path)
    chmodSync(join(path, '..'), 0o711)
    chmodSync(path, 0o666)
    const child = startBeside(`${BECOME_NOBODY} memory.connectUnix(input).start({ onData() {}, onEnd() {} })`, path)
    await until(() => accepted.length === 1)
    const { groups, ...peer } = accepted[0]!.peer
    expect(peer).toEqual({ pid: child.pid, uid: 65534, gid: 65534 })
    expect([...groups].sort()).toEqual([24, 4])
  })

  test('delivers what a peer wrote before it closed, and then its end, once and without an error', async () => {
    const [near, far] = await pair()
    near.write(patternBytes(100_000))
    near.close()
    const told = listenTo(far)
    await until(() => told.ends.length > 0)
    expect(told.bytes().equals(patternBytes(100_000))).toBe(true)
    expect(told.ends).toEqual([null])
    expect(far.closed).toBe(true)
  })

  test.skipIf(!canImport('socket'))('ends when a peer has shut down its writing side', async () => {
    const path = socketPath()
    const { accepted } = listenAt(path)
    const script = `import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b"last words"); s.shutdown(socket.SHUT_WR)
print(len(s.recv(10)))`
    const child = spawn('python3', ['-c', script, path])
    await until(() => accepted.length === 1)
    const told = listenTo(accepted[0]!)
    await until(() => told.ends.length > 0)
    expect(told.bytes().toString()).toBe('last words')
    expect(told.ends).toEqual([null])
    await new Promise((resolve) => child.on('close', resolve))
  })

  test('a write to a peer that is gone ends the stream later, and not from inside write()', async () => {
    const [near, far] = await pair()
    const told = listenTo(near)
    far.close()
    let sent = 0
    near.write(Buffer.from('x'), [], () => sent++)
    near.write(Buffer.from('y'), [], () => sent++)
    expect(told.ends).toEqual([])
    await until(() => told.ends.length > 0)
    expect(told.ends).toHaveLength(1)
    expect(sent).toBe(2)
    near.write(Buffer.from('z'), [], () => sent++)
    expect(sent).toBe(3)
  })

  test('what a peer said before it went is delivered although writing to it fails', async () => {
    const [near, far] = await pair()
    far.write(Buffer.from('you are refused'))
    far.close()
    const chunks: string[] = []
    let ends = 0
    // Between polling for what comes in and the immediates: the failure is dealt with before the next look.
    await new Promise<void>((resolve) => {
      stat('.', () => {
        near.start({ onData: (bytes) => chunks.push(bytes.toString()), onEnd: () => ends++ })
        near.write(Buffer.from('hello'))
        resolve()
      })
    })
    await until(() => ends > 0)
    expect(chunks.join('')).toBe('you are refused')
    expect(ends).toBe(1)
  })

  test('a peer that goes without having read breaks the connection', async () => {
    const [near, far] = await pair()
    const told = listenTo(near)
    near.write(Buffer.from('unread'))
    far.close()
    await until(() => told.ends.length > 0)
    expect(told.ends).toMatchObject([{ code: 'SOCKET_FAILED', errnoName: 'ECONNRESET' }])
  })

  test('pendingBytes grows with a peer that never reads; close() drops them and lets go of the descriptors', async () => {
    const [near] = await pair()
    const file = openRegularFile(writePattern(testFolder(), 'f', 10))
    let sent = 0
    for (let i = 0; i < 8; i++) near.write(Buffer.alloc(2 ** 20), [file], () => sent++)
    const before = near.pendingBytes
    expect(before).toBeGreaterThan(7 * 2 ** 20)
    near.write(Buffer.alloc(1000), [], () => sent++)
    expect(near.pendingBytes).toBe(before + 1000)
    const sentBefore = sent
    near.close()
    near.close()
    expect(near.pendingBytes).toBe(0)
    expect(sentBefore).toBe(0)
    expect(sent).toBe(9)
    file.close()
  })

  test('close() from inside onData, onEnd and onSent is the last that is heard', async () => {
    const before = descriptorCount()
    for (const where of ['onData', 'onEnd', 'onSent']) {
      const [near, far] = await pair()
      const heard: string[] = []
      const hear = (what: string): void => {
        heard.push(what)
        if (what === where) near.close()
      }
      near.start({ onData: () => hear('onData'), onEnd: () => hear('onEnd') })
      far.start({ onData: () => {}, onEnd: () => {} })
      near.write(Buffer.alloc(10), [], () => hear('onSent'))
      if (where === 'onEnd') far.close()
      else if (where === 'onData') for (let i = 0; i < 50; i++) far.write(Buffer.alloc(60_000))
      await until(() => near.closed)
      await new Promise((resolve) => setTimeout(resolve, 5))
      expect(heard.filter((what) => what === where)).toHaveLength(1)
      expect(heard.at(-1)).toBe(where)
      far.close()
    }
    await until(() => descriptorCount() <= before)
  })

  test('start() after close() hears nothing, and does not throw', async () => {
    const [near, far] = await pair()
    near.close()
    const told = listenTo(near)
    far.close()
    expect(told.ends).toEqual([])
  })

  test('what a handler throws is an uncaught exception of the program', () => {
    const script = `
      const path = input + '/s'
      process.on('uncaughtException', (error) => { answer(error.message); process.exit(0) })
      new memory.UnixListener(memory.listenUnix(path), (stream) => stream.write(Buffer.from('x')), () => {})
      memory.connectUnix(path).start({ onData() { throw new Error('mine') }, onEnd() {} })`
    expect(ask(script, { input: testFolder() })).toBe('mine')
  })

  test('a stream that nobody holds goes on, and one that is closed is collected with its descriptor', () => {
    const script = `
      const path = input + '/s'
      const seen = []
      let listener = new memory.UnixListener(memory.listenUnix(path), (stream) => {
        stream.start({ onData: (bytes) => stream.write(bytes), onEnd() {} })
      }, () => {})
      const connect = (text) => {
        const stream = memory.connectUnix(path)
        stream.start({ onData: (bytes) => { seen.push(bytes.toString()); stream.close() }, onEnd() {} })
        setTimeout(() => stream.write(Buffer.from(text)), 20)
        return new WeakRef(stream)
      }
      const before = descriptorCount()
      const streams = Array.from({ length: 50 }, (_, at) => connect('n' + at))
      for (let i = 0; i < 5; i++) { gc(); await turn() }
      let left = 50
      for (let i = 0; i < 500 && left > 0; i++) {
        await turn() // what deref() has given lives on until its own turn is over
        gc()
        await turn()
        left = streams.filter((stream) => stream.deref()).length
      }
      answer([seen.length, left, descriptorCount() - before])
      process.exit(0)`
    expect(ask(script, { input: testFolder() })).toEqual([50, 0, 0])
  })

  test('setReferenced(false) lets the process end with listener and streams open', () => {
    const script = `
      const path = input + '/s'
      const listener = new memory.UnixListener(memory.listenUnix(path), (stream) => {
        stream.setReferenced(false)
        stream.start({ onData() {}, onEnd() {} })
        answer('accepted')
        listener.setReferenced(false)
      }, () => {})
      const stream = memory.connectUnix(path)
      stream.start({ onData() {}, onEnd() {} })
      stream.setReferenced(false)`
    expect(ask(script, { input: testFolder() })).toBe('accepted')
  })

  test('threads that end with open sockets, or are terminated amid traffic, harm nobody and leave no descriptor', async () => {
    const code = `
      const path = workerData.path
      const open = []
      new memory.UnixListener(memory.listenUnix(path), (stream) => {
        open.push(stream)
        stream.start({ onData: (bytes) => stream.write(bytes), onEnd() {} })
      }, () => {})
      for (let i = 0; i < 5; i++) {
        const stream = memory.connectUnix(path)
        stream.start({ onData: (bytes) => stream.write(bytes), onEnd() {} })
        stream.write(Buffer.alloc(1000))
      }
      setTimeout(() => workerData.exits ? process.exit() : parentPort.postMessage('busy'), 10)`
    const before = descriptorCount()
    for (let i = 0; i < 6; i++) {
      const worker = startThread(code, { path: socketPath(), exits: i % 2 === 0 })
      const ended = new Promise((resolve) => worker.once('exit', resolve))
      worker.once('message', () => void worker.terminate())
      await ended
    }
    await until(() => descriptorCount() <= before)
  })

  test.skipIf(!hasPrlimit)('descriptors that find no room end the connection, and none of them stays', () => {
    const script = `
      import { openSync } from 'node:fs'
      const path = input + '/s'
      const file = memory.adoptDescriptor(openSync('/dev/null', 'r'))
      new memory.UnixListener(memory.listenUnix(path), (stream) => {
        const before = descriptorCount()
        stream.start({
          onData: () => answer('received'),
          onEnd: (error) => {
            answer([error.code, error.errnoName, descriptorCount() - before])
            process.exit(0)
          },
        })
      }, () => {})
      memory.connectUnix(path).write(Buffer.from('x'), Array(100).fill(file))`
    const answer = ask(script, { input: testFolder(), wrap: ['prlimit', '--nofile=60'] })
    expect(answer).toEqual(['SOCKET_FAILED', 'EMFILE', -1])
  })

  test.skipIf(!hasPrlimit || !CAN_BECOME_NOBODY)(
    'goes on once there is room again, when too many descriptors of a user are under way',
    () => {
      const folder = testFolder()
      chmodSync(folder, 0o777)
      const script = `
        import { openSync } from 'node:fs'
        ${BECOME_NOBODY}
        const path = input + '/s'
        const file = memory.adoptDescriptor(openSync('/dev/null', 'r'))
        let received = 0
        const listen = (far) => far.start({
          onData: (_, descriptors) => {
            received += descriptors.length
            memory.closeDescriptors(descriptors)
            if (received === 400) { answer(received); process.exit(0) }
          },
          onEnd: (error) => { answer(String(error)); process.exit(0) },
        })
        new memory.UnixListener(memory.listenUnix(path), (far) => setTimeout(listen, 150, far), () => {})
        const stream = memory.connectUnix(path)
        for (let i = 0; i < 20; i++) stream.write(Buffer.from('x'), Array(20).fill(file))`
      const result = runScript(script, { input: folder, wrap: ['prlimit', '--nofile=64'] })
      expect(result).toMatchObject({ status: 0, stdout: '400\n' })
    },
  )
})

describeWithAddon('UnixListener', () => {
  test('accepts more connections than it takes at a time', async () => {
    const path = socketPath()
    const { accepted, errors } = listenAt(path)
    const near = Array.from({ length: 60 }, () => connectUnix(path))
    await until(() => accepted.length === 60)
    expect(errors).toEqual([])
    for (const stream of near) stream.close()
  })

  test('close() refuses new connections and leaves those that are there', async () => {
    const path = socketPath()
    const { listener, accepted } = listenAt(path)
    const near = connectUnix(path)
    await until(() => accepted.length === 1)
    listener.close()
    listener.close()
    expect((await failure(() => connectUnix(path), 'SOCKET_FAILED')).errnoName).toBe('ECONNREFUSED')
    const told = listenTo(accepted[0]!)
    near.write(Buffer.from('still here'))
    await until(() => told.bytes().byteLength > 0)
    near.close()
  })

  test.skipIf(!hasPrlimit)(
    'tells of too many open files now and then instead of spinning, and goes on afterwards',
    () => {
      const script = `
      import { closeSync, openSync } from 'node:fs'
      const path = input + '/s'
      let errors = 0, accepted = 0, name = ''
      new memory.UnixListener(memory.listenUnix(path), () => accepted++, (error) => { errors++; name = error.errnoName })
      const near = [memory.connectUnix(path), memory.connectUnix(path), memory.connectUnix(path)]
      const files = []
      try { for (;;) files.push(openSync('/dev/null')) } catch {}
      await new Promise((resolve) => setTimeout(resolve, 300))
      const seen = errors
      for (const file of files) closeSync(file)
      while (accepted < 3) await turn()
      answer([seen > 0 && seen < 20, name, accepted])
      process.exit(0)`
      const answer = ask(script, { input: testFolder(), wrap: ['prlimit', '--nofile=60'] })
      expect(answer).toEqual([true, 'EMFILE', 3])
    },
  )
})
