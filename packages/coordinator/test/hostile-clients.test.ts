import { spawn, spawnSync } from 'node:child_process'
import { openSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { openCheckpoint } from '@onecopy/checkpoint'
import type { CoordinatorStatus } from '@onecopy/protocol'
import {
  adoptDescriptor,
  closeDescriptors,
  connectUnix,
  type Descriptor,
  type FileMapping,
  openRegularFile,
  sealBytes,
  type UnixStream,
} from '@onecopy/sharedarraybuffer-utils'
import { describe, expect, it } from 'vitest'
import { frame, header } from './frames.ts'
import {
  CoordinatorProcess,
  columns,
  modelBytes,
  saveMatrices,
  saveModel,
  sealedOffer,
  TestClient,
  temporaryFolder,
  until,
} from './support.ts'

/** What a coordinator's heap may grow by under attack; what is piled up against it is far more. */
const MAX_HEAP_GROWTH_BYTES = 24 * 2 ** 20

const HELLO = frame({ type: 'hello', protocol: 1, oldestProtocol: 1, name: 'hostile', software: 'none' })
const acquire = (id: number, checkpoint = 'sealed', waitMs = 0): Buffer =>
  frame({ type: 'acquire', id, checkpoint, version: null, waitMs })
const status = (id: number): Buffer => frame({ type: 'status', id })

/** Connects; a full queue is waited for. */
async function connect(socket: string): Promise<UnixStream> {
  for (;;) {
    try {
      return connectUnix(socket)
    } catch (error) {
      if ((error as { errnoName?: string }).errnoName !== 'EAGAIN') throw error
      await turn()
    }
  }
}

/** Whether this process may serve a file system by FUSE, from Python 3.9 on. */
function canServeFiles(): boolean {
  const script = 'import os, socket; socket.send_fds; os.open("/dev/fuse", os.O_RDWR)'
  return process.geteuid?.() === 0 && spawnSync('python3', ['-c', script]).status === 0
}

/** A raw connection that reads and forgets. */
async function connectReading(socket: string): Promise<UnixStream> {
  const stream = await connect(socket)
  stream.start({ onData: (_, descriptors) => closeDescriptors(descriptors), onEnd: () => {} })
  return stream
}

let state = 1
function random(below: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return (state >>> 8) % below
}

/** Goes on acquiring, asking and releasing; its own lease must outlive every attack. */
class WellBehaved {
  rounds = 0
  readonly #client: TestClient
  readonly #lease: number
  #stopped = false
  readonly done: Promise<void>

  private constructor(client: TestClient, lease: number) {
    this.#client = client
    this.#lease = lease
    this.done = this.#run()
    this.done.catch(() => {})
  }

  static async start(socket: string): Promise<WellBehaved> {
    const client = await TestClient.connect(socket, 'well-behaved')
    return new WellBehaved(client, (await client.acquire('sealed')).granted.lease)
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const { granted, descriptors } = await this.#client.acquire(this.rounds % 2 === 0 ? 'sealed' : 'file')
      expect(descriptors).toHaveLength(3)
      await this.#client.release(granted.lease)
      const { message } = await this.#client.ask({ type: 'status' })
      if (message.type !== 'status') expect.fail(`"${message.type}" was answered to status`)
      else expect(leasesOf(message.status)).toContain(this.#lease)
      expect(this.#client.hasEnded).toBe(false)
      this.rounds++
    }
  }

  /** Waits until it has done some rounds more. */
  async goOn(): Promise<void> {
    const enough = this.rounds + 3
    await Promise.race([this.done, until(() => this.rounds >= enough)])
    expect(this.rounds).toBeGreaterThanOrEqual(enough)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.done
  }
}

function leasesOf({ clients }: CoordinatorStatus): number[] {
  return clients.filter(({ name }) => name === 'well-behaved').flatMap(({ leases }) => leases.map(({ lease }) => lease))
}

interface Arena {
  readonly socket: string
  readonly coordinator: CoordinatorProcess
  readonly beside: WellBehaved
  readonly model: string
}

/** Runs an attack beside a well-behaved client, and sees to it that afterwards everything is as before. */
async function withstand(attack: (arena: Arena) => Promise<void>): Promise<void> {
  const folder = temporaryFolder()
  const socket = join(folder, 's', 'socket')
  const model = await saveModel(join(folder, 'model'))
  const coordinator = await CoordinatorProcess.start({ socket, handBackMs: 50 })
  await coordinator.ask('publish', 'sealed', model, { backing: 'sealed' })
  await coordinator.ask('publish', 'file', model)
  const beside = await WellBehaved.start(socket)
  await beside.goOn()
  // What is made once and stays, such as threads of the pool and the code of errors.
  for (const bytes of [Buffer.alloc(40, 255), HELLO, Buffer.concat([HELLO, acquire(1)])]) {
    const stream = await connectReading(socket)
    stream.write(bytes)
    await beside.goOn()
    stream.close()
  }
  const quiet = async () => {
    // Directories that were handed back are unmapped when they are collected, which measuring sees to.
    await heapOf(coordinator)
    return { ...coordinator.holds(), clients: await clientsOf(coordinator) }
  }
  await until(async () => (await clientsOf(coordinator)) === 1)
  await beside.goOn()
  const before = await quiet()
  const heapBytes = await heapOf(coordinator)

  await attack({ socket, coordinator, beside, model })
  await beside.goOn()
  await expect.poll(quiet, { timeout: 30_000 }).toEqual(before)
  const newcomer = await TestClient.connect(socket)
  expect((await newcomer.acquire('sealed')).granted.version).toBe(1)
  newcomer.close()
  await beside.stop()
  const growth = async (): Promise<number> => (await heapOf(coordinator)) - heapBytes
  await expect.poll(growth, { timeout: 30_000 }).toBeLessThan(MAX_HEAP_GROWTH_BYTES)
  // Neither warnings nor errors that nobody handled.
  expect(await coordinator.kill('SIGTERM')).toEqual({ code: 0, signal: null, stderr: '' })
}

async function heapOf(coordinator: CoordinatorProcess): Promise<number> {
  return ((await coordinator.ask('measure')) as { heapBytes: number }).heapBytes
}

async function clientsOf(coordinator: CoordinatorProcess): Promise<number> {
  return ((await coordinator.ask('status')) as CoordinatorStatus).clients.length
}

describe('a coordinator withstands a client that', () => {
  it('sends random bytes, before and after its hello', () =>
    withstand(async ({ socket }) => {
      for (let i = 0; i < 300; i++) {
        const stream = await connectReading(socket)
        if (i % 2 === 0) stream.write(HELLO)
        stream.write(Buffer.from(Array.from({ length: 1 + random(3000) }, () => random(256))))
        if (i % 3 === 0) {
          // Random bodies in frames that are right.
          const body = Buffer.from(Array.from({ length: 1 + random(200) }, () => random(256)))
          stream.write(Buffer.concat([header(body.byteLength), body]))
        }
        if (i % 50 === 0) await turn()
        setTimeout(() => stream.close(), random(30))
      }
    }))

  it('claims huge lengths, and frames that are not what they say', () =>
    withstand(async ({ socket, beside }) => {
      const heads = [
        header(0xffffffff),
        header(8 * 2 ** 20 + 1),
        header(4097),
        header(0),
        header(10, 65535),
        header(10, 4097),
        header(10, 3),
        header(10, 0, 1),
      ]
      const streams: UnixStream[] = []
      for (const head of heads) {
        for (const opening of [[], [HELLO]]) {
          const stream = await connectReading(socket)
          streams.push(stream)
          stream.write(Buffer.concat([...opening, head, Buffer.alloc(3000)]))
        }
      }
      await beside.goOn()
      for (const stream of streams) stream.close()
    }))

  it('sends halves of frames, and stays or goes', () =>
    withstand(async ({ socket, beside }) => {
      const streams: UnixStream[] = []
      const whole = Buffer.concat([HELLO, acquire(1), status(2)])
      for (let length = 1; length < whole.byteLength; length += 3) {
        const stream = await connectReading(socket)
        stream.write(whole.subarray(0, length))
        streams.push(stream)
      }
      // Seven of eight megabytes, and then nothing.
      for (let i = 0; i < 4; i++) {
        const stream = await connectReading(socket)
        stream.write(HELLO)
        stream.write(Buffer.concat([header(8 * 2 ** 20), Buffer.alloc(7 * 2 ** 20)]))
        streams.push(stream)
      }
      await beside.goOn()
      for (const stream of streams) stream.close()
    }))

  it('says things in the wrong order, or what only a coordinator says', () =>
    withstand(async ({ socket, beside }) => {
      const welcome = frame({ type: 'welcome', protocol: 1, coordinator: 'x', pid: 1, software: 'x' })
      const old = frame({ type: 'hello', protocol: 0, oldestProtocol: 0, name: 'x', software: 'x' })
      const sayings = [
        [acquire(1), HELLO],
        [welcome],
        [HELLO, HELLO],
        [HELLO, welcome],
        [old, acquire(1), HELLO],
        [HELLO, frame({ type: 'nonsense', id: 1 })],
        [HELLO, frame({ type: 'acquire', id: 1 })],
        [HELLO, frame({ type: 'acquire', id: 2 ** 52, checkpoint: '\0', version: 2 ** 52, waitMs: 2 ** 52 })],
        [HELLO, frame(['type', 'status'])],
        [HELLO, frame({ type: '__proto__', id: 1 })],
      ]
      for (const saying of sayings) {
        const stream = await connectReading(socket)
        stream.write(Buffer.concat(saying))
        await beside.goOn()
        stream.close()
      }
    }))

  it('opens 2,000 connections at a time, silent or not', () =>
    withstand(async ({ socket, beside }) => {
      for (const says of [null, HELLO]) {
        const streams: UnixStream[] = []
        for (let i = 0; i < 2000; i++) {
          const stream = await connectReading(socket)
          streams.push(stream)
          if (says !== null) stream.write(says)
          if (i % 100 === 0) await beside.goOn()
          // Silent ones take nobody's place.
          if (says === null && i === 1990) (await TestClient.connect(socket)).close()
        }
        await beside.goOn()
        for (const stream of streams) stream.close()
        await until(async () => (await connectsAgain(socket)) === 'welcome')
      }
    }))

  it('never reads and asks for the status without end', () =>
    withstand(async ({ socket }) => {
      const requests = Buffer.concat(Array.from({ length: 500 }, (_, id) => status(id)))
      const streams = await Promise.all([connect(socket), connect(socket)])
      for (const stream of streams) stream.write(HELLO)
      // It does not start to read, so only writing tells it that it was cut off.
      while (streams.some(({ closed }) => !closed)) {
        for (const stream of streams) if (!stream.closed && stream.pendingBytes < 2 ** 20) stream.write(requests)
        await turn()
      }
    }))

  it.skipIf(!canServeFiles())('sends files that can never be closed', () =>
    withstand(async ({ socket, beside }) => {
      const shards = [1, 2].map((at) => ({ name: `shard ${at}`, byteLength: 1 }))
      const offer = { checkpoint: 'sealed', version: 1, fingerprint: 'f', label: 'x', shards, arenas: [] }
      const resume = frame({ ...offer, type: 'resume', id: 1, backing: 'sealed' }, 3)
      const release = frame({ type: 'release', id: 1, lease: 1 }, 3)
      for (const message of [resume, release]) {
        const folder = temporaryFolder()
        const script = fileURLToPath(new URL('children/stuck-file.py', import.meta.url))
        const child = spawn('python3', [script, socket, folder, HELLO.toString('hex'), message.toString('hex'), '3'])
        const ended = new Promise((resolve) => child.on('exit', resolve))
        let output = ''
        for (const stream of [child.stdout, child.stderr]) {
          stream.on('data', (text) => {
            output += text
          })
        }
        try {
          await until(() => output.includes('\n'), 'the files were sent')
          expect(output).toMatch(/^\d+\n$/)
          await beside.goOn()
          await beside.goOn()
        } finally {
          // Files that nobody serves any more can be closed.
          if (Number(output) > 0) process.kill(Number(output), 'SIGKILL')
          child.kill('SIGKILL')
          await ended
          spawnSync('umount', ['--lazy', folder])
        }
      }
    }),
  )

  it('sends descriptors where none belong', () =>
    withstand(async ({ socket, beside }) => {
      const file = adoptDescriptor(openSync('/dev/null', 'r'))
      const many = Array<Descriptor>(250).fill(file)
      const streams: UnixStream[] = []
      for (let i = 0; i < 20; i++) {
        const one = await connectReading(socket)
        one.write(HELLO, [file])
        const two = await connectReading(socket)
        two.write(HELLO)
        two.write(status(1), many)
        const three = await connectReading(socket)
        three.write(HELLO)
        three.write(frame({ type: 'status', id: 1 }, 250), many)
        const four = await connectReading(socket)
        four.write(HELLO)
        // As many as its header says, in a frame that never ends.
        four.write(Buffer.concat([header(1000, 250), Buffer.alloc(10)]), many)
        const five = await connectReading(socket)
        five.write(HELLO)
        for (const byte of status(1)) five.write(Buffer.of(byte), many)
        const six = await connectReading(socket)
        six.write(Buffer.alloc(4), many)
        streams.push(one, two, three, four, five, six)
      }
      await beside.goOn()
      for (const stream of streams) stream.close()
      file.close()
    }))

  it('acquires and vanishes, again and again', () =>
    withstand(async ({ socket }) => {
      for (let i = 0; i < 400; i++) {
        const stream = i % 2 === 0 ? await connectReading(socket) : await connect(socket)
        stream.write(Buffer.concat([HELLO, acquire(1), acquire(2, 'file'), acquire(3, 'nothing', 2 ** 40)]))
        if (i % 4 === 0) stream.close()
        else setTimeout(() => stream.close(), random(20))
        if (i % 20 === 0) await turn()
      }
    }))

  it('acquires without end and never reads, or waits with every request it may have', () =>
    withstand(async ({ socket, beside }) => {
      const streams = await Promise.all(Array.from({ length: 12 }, () => connect(socket)))
      for (const [at, stream] of streams.entries()) {
        stream.write(HELLO)
        const requests = Array.from({ length: 2000 }, (_, id) => acquire(id, at % 2 ? 'sealed' : 'none', 2 ** 40))
        stream.write(Buffer.concat(requests))
      }
      await beside.goOn()
      for (const stream of streams) stream.close()
    }))

  it('gives back leases that are not its own, and hands back memory that is not', () =>
    withstand(async ({ socket, beside, model }) => {
      const stream = await connectReading(socket)
      stream.write(HELLO)
      for (let lease = 0; lease < 300; lease++) stream.write(frame({ type: 'release', id: lease, lease }))
      await beside.goOn()
      const { offer, descriptors, close } = await sealedOffer(model)
      using wrong = sealBytes(new Uint8Array(100), 'wrong')
      const resume = { ...offer, type: 'resume', id: 1, version: 2 ** 52, backing: 'sealed' }
      for (let i = 0; i < 50; i++) {
        const names = ['sealed', `new${i}`, '../x']
        for (const checkpoint of names) {
          const own = await connectReading(socket)
          own.write(HELLO)
          own.write(
            frame({ ...resume, checkpoint }, 3),
            i % 2 === 0 ? descriptors : descriptors.with(1, wrong.descriptor),
          )
          own.write(frame({ ...resume, checkpoint, fingerprint: 'f' }, 3), descriptors)
          setTimeout(() => own.close(), random(30))
        }
        if (i % 10 === 0) await beside.goOn()
      }
      await beside.goOn()
      stream.close()
      close()
    }))
})

describe('a coordinator withstands a client that', () => {
  it('selects what cannot be, or what it never waits for', () =>
    withstand(async ({ socket, coordinator, beside, model }) => {
      const matrices = await saveMatrices(join(temporaryFolder(), 'matrices'), { rows: 512, columns: 512 })
      await coordinator.ask('publish', 'matrices', matrices)
      const select = (id: number, selection: unknown): Buffer =>
        frame({ type: 'acquire', id, checkpoint: 'matrices', version: null, waitMs: 0, selection })
      const part = (start: number, stop: number): string => JSON.stringify(columns(start, stop, 512))
      const everySecond = Array.from({ length: 256 }, (_, at) => [2 * at, 2 * at + 1])
      const scattered = JSON.stringify({ tensors: [{ name: 'a', ranges: [[0, 512], everySecond] }] })
      const sayings = [
        [select(1, 7)],
        [select(1, ['tensors'])],
        [select(1, '{'.repeat(60_000)), select(2, '['.repeat(60_000)), select(3, '"\\ud800'), select(4, '\0')],
        [
          select(1, '{"tensors":[{"name":"a","ranges":[[0,512],[0,1e308]]}]}'),
          select(2, '{"__proto__":{"tensors":[]}}'),
        ],
        [select(1, scattered), select(2, scattered)],
        Array.from({ length: 100 }, (_, id) => select(id, part(id, id + 200))),
        Array.from({ length: 300 }, (_, id) => select(id, part(0, 1))),
      ]
      for (const saying of sayings) {
        for (const reads of [true, false]) {
          const stream = reads ? await connectReading(socket) : await connect(socket)
          stream.write(Buffer.concat([HELLO, ...saying]))
          if (random(2) === 0) await beside.goOn()
          stream.close()
        }
      }
      await until(async () => (await clientsOf(coordinator)) === 1)
      const { heldBytes } = (await coordinator.ask('status')) as CoordinatorStatus
      await coordinator.ask('retire', 'matrices')
      expect(heldBytes).toBe(modelBytes(model))
    }))

  it('hands arenas back that are none, or not its own', () =>
    withstand(async ({ socket, beside, model }) => {
      const { offer, descriptors, close } = await sealedOffer(model)
      const matrices = await saveMatrices(join(temporaryFolder(), 'matrices'))
      const gatheredBy = await openCheckpoint(matrices)
      const { arenas, release } = await gatheredBy.holdArenas(columns(0, 9))
      const arena = arenas[0]!.memory as FileMapping
      using nonsense = sealBytes(new Uint8Array(1000).fill(1), 'nonsense')
      using cut = sealBytes(new Uint8Array(arena.buffer(0, 100)), 'cut')
      const file = openRegularFile(join(matrices, 'model.safetensors'))
      const resume = { ...offer, type: 'resume', id: 1, version: 1, checkpoint: 'sealed' }
      const offers: [Descriptor[], number[]][] = [
        [[nonsense.descriptor], [1000]],
        [[cut.descriptor], [100]],
        [[file], [1000]],
        [[arena.descriptor], [1000]],
        [
          [arena.descriptor, nonsense.descriptor],
          [arena.byteLength, 1000],
        ],
        // Of another checkpoint: nobody asks for its parts.
        [Array(200).fill(arena.descriptor), Array(200).fill(arena.byteLength)],
      ]
      for (let i = 0; i < 10; i++) {
        for (const [own, byteLengths] of offers) {
          const named = byteLengths.map((byteLength) => ({ name: '../arena', byteLength }))
          for (const backing of ['sealed', 'file']) {
            const all = backing === 'sealed' ? [...descriptors, ...own] : own
            const stream = await connectReading(socket)
            stream.write(HELLO)
            stream.write(frame({ ...resume, backing, arenas: named }, all.length), all)
            stream.write(frame({ ...resume, backing, arenas: named, fingerprint: 'f' }, all.length), all)
            setTimeout(() => stream.close(), random(30))
          }
        }
        await beside.goOn()
      }
      file.close()
      release()
      gatheredBy.close()
      close()
    }))
})

async function connectsAgain(socket: string): Promise<string> {
  const client = new TestClient(socket)
  const message = await Promise.race([client.opening, client.ended])
  client.close()
  return message !== null && 'type' in message ? message.type : 'ended'
}
