import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type ClientStatus, clientConnection, fromWire, SOFTWARE } from '@onecopy/protocol'
import { closeDescriptors, connectUnix, isSealed, lockFile, sealBytes } from '@onecopy/sharedarraybuffer-utils'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type CoordinatorEvent, startCoordinator } from '../src/coordinator.ts'
import { frame } from './frames.ts'
import {
  CoordinatorProcess,
  modelBytes,
  refusal,
  saveModel,
  TestClient,
  temporaryFolder,
  temporarySocket,
  until,
} from './support.ts'

/** All leases of a client. */
function heldBy(client: ClientStatus | undefined): number {
  return client === undefined ? -1 : client.leases.reduce((sum, { count }) => sum + count, 0)
}

const descriptorCount = (): number => readdirSync('/proc/self/fd').length

describe('startCoordinator()', () => {
  it('serves at a socket that its owner alone may use, and close() removes it and gives everything back', async () => {
    const before = descriptorCount()
    const socket = temporarySocket()
    const mask = process.umask(0)
    const coordinator = await startCoordinator({ socket }).finally(() => process.umask(mask))
    expect(statSync(socket).mode & 0o777).toBe(0o600)
    expect(statSync(join(socket, '..')).mode & 0o777).toBe(0o700)
    expect(await coordinator.status()).toEqual({
      coordinator: coordinator.id,
      pid: process.pid,
      socket,
      since: expect.any(String),
      protocol: 1,
      budgetBytes: expect.any(Number),
      heldBytes: 0,
      lingeringBytes: expect.any(Number),
      checkpoints: [],
      clients: [],
      software: SOFTWARE,
      loading: 0,
      budgetFrom: expect.stringMatching(/memory/),
      omittedCheckpoints: 0,
      omittedClients: 0,
    })
    await coordinator.close()
    await coordinator.close()
    expect(existsSync(socket)).toBe(false)
    await until(() => descriptorCount() <= before)
  })

  it('shows closed memory that buffers of its process still keep in RAM', async () => {
    await using coordinator = await startCoordinator({ socket: temporarySocket() })
    const sealed = sealBytes(new Uint8Array(2 ** 20), 'read on')
    const before = (await coordinator.status()).lingeringBytes
    const buffer = sealed.buffer(0, 2 ** 20)
    sealed.close()
    expect((await coordinator.status()).lingeringBytes).toBeGreaterThanOrEqual(2 ** 20)
    expect([before, buffer.byteLength]).toEqual([0, 2 ** 20])
  })

  it('refuses a second coordinator on the same socket, in this process and in another', async () => {
    const socket = temporarySocket()
    await using _first = await startCoordinator({ socket })
    const error = await refusal(startCoordinator({ socket }))
    expect(error).toMatchObject({ code: 'COORDINATOR_RUNNING', message: `Another coordinator serves "${socket}"` })
    expect(await refusal(CoordinatorProcess.start({ socket }))).toMatchObject({ code: 'COORDINATOR_RUNNING' })
    await TestClient.connect(socket)
  })

  it('refuses a socket that somebody serves without holding its lock', async () => {
    const socket = temporarySocket()
    await using _first = await startCoordinator({ socket })
    rmSync(`${socket}.lock`)
    expect(await refusal(startCoordinator({ socket }))).toMatchObject({ code: 'COORDINATOR_RUNNING' })
    await TestClient.connect(socket)
  })

  it('takes over the socket of a coordinator that was killed, and may follow one that was closed', async () => {
    const socket = temporarySocket()
    const first = await CoordinatorProcess.start({ socket })
    await first.kill()
    expect(existsSync(socket)).toBe(true)
    for (let i = 0; i < 3; i++) {
      await using coordinator = await startCoordinator({ socket })
      expect((await (await TestClient.connect(socket)).opening).type).toBe('welcome')
      expect(coordinator.socket).toBe(socket)
    }
  })

  it('close() leaves the socket of a coordinator that took the place after somebody had cleared it away', async () => {
    const socket = temporarySocket()
    const first = await startCoordinator({ socket })
    rmSync(join(socket, '..'), { recursive: true })
    await using second = await startCoordinator({ socket })
    await first.close()
    expect((await (await TestClient.connect(second.socket)).opening).type).toBe('welcome')
  })

  it('removes nothing that is not a socket', async () => {
    const before = descriptorCount()
    const folder = temporaryFolder()
    const file = join(folder, 'model.safetensors')
    writeFileSync(file, 'precious')
    mkdirSync(join(folder, 'folder'))
    for (const socket of [file, join(folder, 'folder')]) {
      const error = await refusal(startCoordinator({ socket }))
      expect(error).toMatchObject({ code: 'SOCKET_UNSAFE', message: `"${socket}" is there and is not a socket` })
    }
    expect(readFileSync(file, 'utf8')).toBe('precious')
    expect(descriptorCount()).toBe(before)
  })

  it.each([
    [{ sockets: 'x' }, TypeError, /has no option "sockets"; its options are socket, /],
    [
      { socket: 7 },
      TypeError,
      /^The option socket of startCoordinator\(\) is 7; it must be the path of a unix socket$/,
    ],
    [{ socketGroup: -7 }, RangeError, /^The option socketGroup of startCoordinator\(\) is -7; it must be/],
    [{ allowedUids: 7 }, TypeError, /^The option allowedUids .* a list/],
    [{ allowedGids: [2 ** 32] }, RangeError, /^The option allowedGids/],
    [{ publisherUids: ['root'] }, TypeError, /^The option publisherUids/],
    [{ maxClients: 0 }, RangeError, /^The option maxClients/],
    [
      { maxClients: 2 ** 40 },
      RangeError,
      /^The option maxClients is 1099511627776; it must be .* \(raise it with ulimit -n/,
    ],
    [{ handBackMs: -1 }, RangeError, /^The option handBackMs/],
    [{ whenWritten: 'cry' }, RangeError, /one of ignore, warn, seal/],
  ])('refuses the options %j', async (options, kind, message) => {
    const error = await refusal(startCoordinator(options as object))
    expect(error).toBeInstanceOf(kind)
    expect(error.message).toMatch(message)
  })

  it('leaves neither socket, lock nor descriptor behind when it cannot start', async () => {
    const before = descriptorCount()
    const folder = temporaryFolder()
    const long = join(folder, 'x'.repeat(120))
    expect(await refusal(startCoordinator({ socket: long }))).toMatchObject({ code: 'SOCKET_FAILED' })
    chmodSync(folder, 0o777)
    const socket = join(folder, 'socket')
    expect(await refusal(startCoordinator({ socket }))).toMatchObject({ code: 'SOCKET_UNSAFE' })
    chmodSync(folder, 0o700)
    // A folder that is this user's alone, and has something else in it.
    writeFileSync(join(folder, 'other'), '')
    const closed = await refusal(startCoordinator({ socket, allowedUids: [4711] }))
    expect(closed).toMatchObject({ code: 'SOCKET_UNSAFE', path: folder })
    expect(existsSync(socket)).toBe(false)
    expect(descriptorCount()).toBe(before)
    const lock = lockFile(`${socket}.lock`)
    expect(lock).not.toBeNull()
    lock!.close()
    await (await startCoordinator({ socket })).close()
  })
})

describe('Coordinator', () => {
  async function start(options: Parameters<typeof startCoordinator>[0] = {}) {
    const folder = temporaryFolder()
    const coordinator = await startCoordinator({ socket: join(folder, 's', 'socket'), ...options })
    onTestFinished(() => coordinator.close())
    const events: CoordinatorEvent[] = []
    coordinator.on('event', (event) => events.push(event))
    const model = await saveModel(join(folder, 'model'))
    return { folder, coordinator, socket: coordinator.socket, events, model }
  }

  it('close() tells clients why, ends their connections, and refuses what comes after', async () => {
    const { coordinator, socket, model } = await start()
    await coordinator.publish('a', model)
    const clients = await Promise.all([1, 2, 3].map(() => TestClient.connect(socket)))
    for (const client of clients) await client.acquire('a')
    const silent = new TestClient(socket)
    await silent.opening
    await coordinator.close('an update')
    for (const client of clients) {
      expect(await client.ended).toBeNull()
      expect(client.events).toEqual([{ type: 'closing', reason: 'an update' }])
    }
    expect(await refusal(coordinator.publish('b', model))).toMatchObject({ code: 'COORDINATOR_CLOSING' })
    expect(await refusal(() => coordinator.retire('a'))).toMatchObject({ code: 'COORDINATOR_CLOSING' })
    expect(await coordinator.status()).toMatchObject({ clients: [], checkpoints: [], heldBytes: 0 })
  })

  it('close() ends a load that runs, requests that wait, and does not wait for either', async () => {
    const { folder, coordinator, socket, model } = await start()
    await coordinator.publish('a', model)
    const client = await TestClient.connect(socket)
    const waiting = client.acquire('not yet', null, 2 ** 40)
    void waiting.catch(() => {})
    const large = await saveModel(join(folder, 'large'), { tensorBytes: 2 ** 26 })
    const loading = refusal(coordinator.publish('large', large, { backing: 'sealed' }))
    await until(async () => (await coordinator.status()).checkpoints.length === 2)
    await coordinator.close()
    expect(await loading).toMatchObject({ code: 'COORDINATOR_CLOSING' })
    await client.ended
  })

  it('SIGTERM in its own process ends it by itself, with clients attached and waiting', async () => {
    const socket = temporarySocket()
    const model = await saveModel(join(temporaryFolder(), 'model'))
    const coordinator = await CoordinatorProcess.start({ socket })
    await coordinator.ask('publish', 'a', model, { backing: 'sealed' })
    const client = await TestClient.connect(socket)
    await client.acquire('a')
    void client.acquire('later', null, 2 ** 40).catch(() => {})
    expect(await coordinator.kill('SIGTERM')).toEqual({ code: 0, signal: null, stderr: '' })
    expect(await client.ended).toBeNull()
    expect(existsSync(socket)).toBe(false)
  })

  it('grants the directory and the shards as descriptors that only read', async () => {
    const { coordinator, socket, model } = await start()
    await coordinator.publish('file', model)
    await coordinator.publish('sealed', model, { backing: 'sealed' })
    const client = await TestClient.connect(socket)
    for (const name of ['file', 'sealed']) {
      const { granted, descriptors } = await client.acquire(name)
      expect(granted).toMatchObject({ checkpoint: name, version: 1, backing: name, fingerprint: expect.any(String) })
      expect(granted.shards.map(({ byteLength }) => byteLength).reduce((a, b) => a + b)).toBe(modelBytes(model))
      expect(descriptors).toHaveLength(3)
      for (const { number } of descriptors) {
        const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${number}`, 'utf8'))![1]!
        expect(Number.parseInt(flags, 8) & 0o3).toBe(0)
      }
    }
  })

  it('a listener that throws leaves no publish halfway, and is heard of as any listener is', async () => {
    const { coordinator, folder } = await start()
    const [first, second] = [await saveModel(join(folder, 'one')), await saveModel(join(folder, 'two'), { fill: 9 })]
    const thrown: unknown[] = []
    const others = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    process.on('uncaughtException', (error) => thrown.push(error))
    onTestFinished(() => {
      process.removeAllListeners('uncaughtException')
      for (const other of others) process.on('uncaughtException', other)
    })
    const own = new Error('a listener of the test')
    coordinator.on('event', ({ type }) => {
      if (type === 'published') throw own
    })
    expect([await coordinator.publish('a', first), await coordinator.publish('a', second)]).toEqual([1, 2])
    const { checkpoints } = await coordinator.status()
    expect(checkpoints[0]!.versions).toMatchObject([{ version: 2, state: 'ready' }])
    await until(() => thrown.length === 2)
    expect(thrown).toEqual([own, own])
  })

  it('a lease ends with its release or its connection, and only once', async () => {
    const { coordinator, socket, model } = await start()
    await coordinator.publish('a', model)
    const leases = async (): Promise<number> => (await coordinator.status()).checkpoints[0]!.versions[0]!.leases
    const [one, other] = [await TestClient.connect(socket), await TestClient.connect(socket)]
    const { granted } = await one.acquire('a')
    await one.acquire('a')
    await other.acquire('a')
    expect(await leases()).toBe(3)
    await other.release(granted.lease)
    expect(await leases()).toBe(3)
    await one.release(granted.lease)
    await one.release(granted.lease)
    expect(await leases()).toBe(2)
    one.close()
    await until(async () => (await leases()) === 1)
  })

  it('what was granted stays until it has been sent, although it was given back unheard and retired', async () => {
    const { folder, coordinator, socket } = await start()
    const model = await saveModel(join(folder, 'many'), { shards: 100 })
    await coordinator.publish('many', model, { backing: 'sealed' })
    const stream = connectUnix(socket)
    stream.write(frame({ type: 'hello', protocol: 1, oldestProtocol: 1, name: 'late reader', software: 'test' }))
    // More than the socket takes while nobody reads. Leases are numbered one after the other.
    const acquire = { type: 'acquire', checkpoint: 'many', version: null, waitMs: 0 }
    for (let id = 1; id <= 100; id++) stream.write(frame({ ...acquire, id }))
    const leases = async (): Promise<number> => heldBy((await coordinator.status()).clients[0])
    await until(async () => (await leases()) === 100)
    for (let id = 1; id <= 100; id++) stream.write(frame({ type: 'release', id: 100 + id, lease: id }))
    await until(async () => (await leases()) === 0)
    coordinator.retire('many')
    const sealed: boolean[][] = []
    const ends: unknown[] = []
    let released = 0
    const connection = clientConnection(stream, {
      onMessage: (message, descriptors) => {
        if (message.type === 'granted') sealed.push(descriptors.map(isSealed))
        if (message.type === 'done') released++
        closeDescriptors(descriptors)
      },
      onClose: (error) => ends.push(error),
    })
    await until(() => released === 100 || ends.length > 0)
    expect(ends).toEqual([])
    expect(sealed).toEqual(Array(100).fill(Array(101).fill(true)))
    expect((await coordinator.status()).checkpoints).toEqual([])
    connection.close()
  })

  it('a client that vanishes before it is answered leaves no lease', async () => {
    const { folder, coordinator, socket } = await start()
    const large = await saveModel(join(folder, 'large'), { tensorBytes: 2 ** 24 })
    await coordinator.publish('a', large, { backing: 'sealed', load: 'on-demand' })
    const clients = await Promise.all(Array.from({ length: 10 }, () => TestClient.connect(socket)))
    for (const client of clients) void client.acquire('a').catch(() => {})
    for (const client of clients) void client.acquire('a', null, 10_000).catch(() => {})
    await until(async () => (await coordinator.status()).checkpoints[0]!.versions[0]!.leases > 0)
    for (const client of clients) client.close()
    await until(async () => {
      const { clients: left, checkpoints } = await coordinator.status()
      const [version] = checkpoints[0]!.versions
      return left.length === 0 && version!.leases === 0 && version!.state !== 'staging'
    })
  })

  it('tells a client of every checkpoint that it holds, however many it has held before', async () => {
    const { coordinator, socket, model } = await start()
    const client = await TestClient.connect(socket)
    const names = Array.from({ length: 300 }, (_, at) => `n${at}`)
    for (const name of names) await coordinator.publish(name, model, { load: 'on-demand' })
    for (const name of names) {
      const { granted } = await client.acquire(name)
      if (name !== 'n299') await client.release(granted.lease)
    }
    coordinator.retire('n299')
    await client.ask({ type: 'status' })
    expect(client.events).toEqual([{ type: 'retired', checkpoint: 'n299' }])
  })

  it('tells those who hold a checkpoint of new versions and of its end, and nobody else', async () => {
    const { coordinator, socket, model } = await start()
    await coordinator.publish('a', model)
    const [holder, former, stranger] = await Promise.all([1, 2, 3].map(() => TestClient.connect(socket)))
    await holder!.acquire('a')
    await former!.release((await former!.acquire('a')).granted.lease)
    await saveModel(model, { fill: 9 })
    await coordinator.publish('a', model)
    coordinator.retire('a')
    await Promise.all([holder, former, stranger].map((client) => client!.ask({ type: 'status' })))
    const events = [
      { type: 'version', checkpoint: 'a', version: 2, fingerprint: expect.any(String) },
      { type: 'retired', checkpoint: 'a' },
    ]
    expect(holder!.events).toEqual(events)
    expect(former!.events).toEqual([])
    expect(stranger!.events).toEqual([])
  })

  it('tells whoever attaches to an older version, or whose version was replaced meanwhile, of the newest', async () => {
    const { coordinator, socket, model } = await start()
    await coordinator.publish('a', model)
    const [holder, late] = [await TestClient.connect(socket), await TestClient.connect(socket)]
    await holder.acquire('a')
    await saveModel(model, { fill: 9 })
    await coordinator.publish('a', model)
    expect((await late.acquire('a', 1)).granted.version).toBe(1)
    await late.ask({ type: 'status' })
    expect(late.events).toMatchObject([{ type: 'version', version: 2 }])
  })

  it('acquire waits for what is published in time, and says what there is when it is not', async () => {
    const { coordinator, socket, model } = await start()
    const clients = await Promise.all(Array.from({ length: 12 }, () => TestClient.connect(socket)))
    const granted = clients.map((client) => client.acquire('later', null, 60_000))
    await coordinator.publish('later', model)
    const late = refusal(clients[0]!.acquire('never', null, 20))
    for (const answer of granted) expect((await answer).granted.version).toBe(1)
    const error = await late
    expect(error).toMatchObject({ code: 'CHECKPOINT_UNKNOWN', candidates: ['later'] })
    const version = clients[1]!.acquire('later', 2, 60_000)
    await saveModel(model, { fill: 9 })
    await coordinator.publish('later', model)
    expect((await version).granted.version).toBe(2)
  })

  it('publishes and retires for clients, with errors that are classes again', async () => {
    const { folder, coordinator, socket, model, events } = await start()
    const client = await TestClient.connect(socket)
    const publish = (source: string, checkpoint = 'a') =>
      client.ask({
        type: 'publish',
        checkpoint,
        source,
        backing: 'sealed',
        pinned: true,
        load: 'now',
        priority: 3,
      })
    expect((await publish(model)).message).toMatchObject({ type: 'done', result: { version: 1 } })
    expect((await coordinator.status()).checkpoints).toMatchObject([{ name: 'a', backing: 'sealed', pinned: true }])
    for (const [source, name, code] of [
      [join(folder, 'none'), 'a', 'LOAD_FAILED'],
      [model, '../a', 'NAME_INVALID'],
    ] as const) {
      const { message } = await publish(source, name)
      expect(message.type === 'error' && fromWire(message.error)).toMatchObject({ name: 'CoordinatorError', code })
    }
    expect((await client.ask({ type: 'retire', checkpoint: 'a' })).message.type).toBe('done')
    expect((await client.ask({ type: 'retire', checkpoint: 'a' })).message).toMatchObject({
      type: 'error',
      error: { code: 'CHECKPOINT_UNKNOWN' },
    })
    expect(events.map(({ type }) => type)).toEqual(['attached', 'loaded', 'published', 'retired', 'released'])
  })

  it('refuses leases beyond what one client may have, and goes on with it', async () => {
    const { coordinator, socket, model } = await start()
    await coordinator.publish('a', model)
    const client = await TestClient.connect(socket)
    const leases: number[] = []
    const error = await refusal(async () => {
      for (;;) leases.push((await client.acquire('a')).granted.lease)
    })
    expect(error).toMatchObject({ code: 'CLIENT_REFUSED' })
    expect(leases).toHaveLength(1024)
    await client.release(leases[0]!)
    expect((await client.acquire('a')).granted.version).toBe(1)
  })
})

describe.skipIf(spawnSync('prlimit', ['--version']).status !== 0)('a coordinator with few descriptors', () => {
  it('goes on serving those that it has, and others when there is room again', async () => {
    const socket = temporarySocket()
    const model = await saveModel(join(temporaryFolder(), 'model'))
    const coordinator = await CoordinatorProcess.start({ socket })
    await coordinator.ask('publish', 'a', model)
    const first = await TestClient.connect(socket)
    const limit = coordinator.holds().descriptors.length + 3
    spawnSync('prlimit', ['--pid', `${coordinator.pid}`, `--nofile=${limit}:`])
    const clients = Array.from({ length: 20 }, () => new TestClient(socket))
    for (let i = 0; i < 20; i++) expect((await first.acquire('a')).granted.version).toBe(1)
    spawnSync('prlimit', ['--pid', `${coordinator.pid}`, '--nofile=1000:'])
    for (const client of clients) expect((await client.opening).type).toBe('welcome')
    expect(await coordinator.kill('SIGTERM')).toMatchObject({ code: 0, stderr: '' })
  })
})
