import { spawn } from 'node:child_process'
import { chmodSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { fromWire, HELLO_TIMEOUT_MS } from '@onecopy/protocol'
import { connectUnix } from '@onecopy/sharedarraybuffer-utils'
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  type Coordinator,
  type CoordinatorEvent,
  type CoordinatorOptions,
  startCoordinator,
} from '../src/coordinator.ts'
import { othersCanReach, saveModel, TestClient, temporaryFolder, until } from './support.ts'

const canBeOthers = othersCanReach(tmpdir())

interface Started {
  readonly coordinator: Coordinator
  readonly socket: string
  readonly events: CoordinatorEvent[]
  readonly model: string
}

async function start(options: Omit<CoordinatorOptions, 'socket'> = {}): Promise<Started> {
  const folder = temporaryFolder()
  chmodSync(folder, 0o711)
  const coordinator = await startCoordinator({ socket: join(folder, 's', 'socket'), ...options })
  onTestFinished(() => coordinator.close())
  const events: CoordinatorEvent[] = []
  coordinator.on('event', (event) => events.push(event))
  const model = await saveModel(join(folder, 'model'))
  await coordinator.publish('a', model)
  return { coordinator, socket: coordinator.socket, events, model }
}

async function refusalOf(client: TestClient): Promise<Error> {
  const message = await client.opening
  if (message.type !== 'refused') return expect.fail(`"${message.type}" was answered`)
  await client.ended
  return fromWire(message.error)
}

interface Ids {
  readonly uid: number
  readonly gid: number
  readonly groups?: readonly number[]
}

/** What a process with these ids is answered to its hello, and then to each request: the type, or the error's code and message. */
async function answersTo(socket: string, { uid, gid, groups = [] }: Ids, ...requests: object[]): Promise<string[]> {
  const script = fileURLToPath(new URL('children/other-user.mjs', import.meta.url))
  const ids = [uid, gid, groups.join(',')].map(String)
  const child = spawn(process.execPath, [script, socket, ...ids, ...requests.map((each) => JSON.stringify(each))])
  onTestFinished(() => void child.kill('SIGKILL'))
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (text) => {
      output += text
    })
  }
  await new Promise((resolve) => child.on('close', resolve))
  const lines = output.trim().split('\n')
  if (!lines.every((line) => line.startsWith('{'))) expect.fail(output)
  return lines.map((line) => {
    const { type, error } = JSON.parse(line)
    return error === undefined ? type : `${error.code}: ${error.message}`
  })
}

describe('Admission', () => {
  afterEach(() => void vi.useRealTimers())

  it('welcomes a client and tells who came and went, with what they held', async () => {
    const { coordinator, socket, events } = await start()
    const client = await TestClient.connect(socket, 'reader 1')
    expect(await client.opening).toMatchObject({ type: 'welcome', protocol: 1, coordinator: coordinator.id })
    const { granted } = await client.acquire('a')
    const described = {
      id: 1,
      pid: process.pid,
      uid: process.geteuid?.(),
      gid: process.getegid?.(),
      name: 'reader 1',
      since: expect.any(String),
    }
    const leases = [{ lease: granted.lease, checkpoint: 'a', version: 1, count: 1 }]
    expect((await coordinator.status()).clients).toEqual([{ ...described, leases }])
    client.close()
    await until(() => events.some(({ type }) => type === 'detached'))
    expect(events.slice(2)).toEqual([
      { type: 'attached', client: { ...described, leases: [] } },
      { type: 'detached', client: { ...described, leases } },
    ])
    expect(await coordinator.status()).toMatchObject({ clients: [], checkpoints: [{ versions: [{ leases: 0 }] }] })
  })

  it('refuses a client that speaks no common protocol, naming what both speak', async () => {
    const { socket, events } = await start()
    const error = await refusalOf(new TestClient(socket, { protocol: 9, oldestProtocol: 7 }))
    expect(error).toMatchObject({
      name: 'ProtocolError',
      code: 'PROTOCOL_VERSION_MISMATCH',
      coordinatorProtocols: { oldest: 1, newest: 1 },
      clientProtocols: { oldest: 7, newest: 9 },
    })
    expect(error.message).toBe(
      'The coordinator speaks protocol version 1, the client versions 7 to 9: update the coordinator, ' +
        'or run the same version of onecopy in both',
    )
    const old = await refusalOf(new TestClient(socket, { protocol: 0, oldestProtocol: 0 }))
    expect(old.message).toContain('update the client')
    const newer = new TestClient(socket, { protocol: 5, oldestProtocol: 1 })
    expect(await newer.opening).toMatchObject({ type: 'welcome', protocol: 1 })
    expect(events.filter(({ type }) => type === 'refused')).toHaveLength(2)
  })

  it('refuses one client more than it takes, and takes one when another has gone', async () => {
    const { coordinator, socket } = await start({ maxClients: 2 })
    const clients = [await TestClient.connect(socket), await TestClient.connect(socket)]
    const error = await refusalOf(new TestClient(socket))
    expect(error).toMatchObject({ code: 'CLIENT_REFUSED', message: 'The coordinator has 2 clients, the most it takes' })
    expect((await clients[0]!.acquire('a')).granted.version).toBe(1)
    clients[1]!.close()
    await until(async () => (await coordinator.status()).clients.length === 1)
    await TestClient.connect(socket)
  })

  it('ends the connection that has been silent longest when there are as many as there may be', async () => {
    const { coordinator, socket } = await start({ maxClients: 4 })
    const client = await TestClient.connect(socket)
    const ended: number[] = []
    const silent = Array.from({ length: 40 }, (_, at) => {
      const stream = connectUnix(socket)
      stream.start({ onData: () => {}, onEnd: () => ended.push(at) })
      onTestFinished(() => stream.close())
      return stream
    })
    // One client and nineteen others are twenty, four and sixteen.
    await until(() => ended.length === 21)
    expect(ended.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 21 }, (_, at) => at))
    expect((await (await TestClient.connect(socket)).acquire('a')).granted.version).toBe(1)
    expect((await client.acquire('a')).granted.version).toBe(1)
    for (const stream of silent) stream.close()
    expect((await coordinator.status()).clients).toHaveLength(2)
  })

  it('closes a connection that has not said hello in time, and leaves those that have', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const { coordinator, socket } = await start()
    const client = await TestClient.connect(socket)
    const ends: (Error | null)[] = []
    const silent = connectUnix(socket)
    const halfway = connectUnix(socket)
    for (const stream of [silent, halfway]) stream.start({ onData: () => {}, onEnd: (error) => ends.push(error) })
    halfway.write(Buffer.of(40, 0, 0, 0, 0, 0, 0))
    const other = await TestClient.connect(socket)
    vi.advanceTimersByTime(HELLO_TIMEOUT_MS - 1)
    await client.ask({ type: 'status' })
    expect(ends).toEqual([])
    vi.advanceTimersByTime(1)
    while (ends.length < 2) await new Promise(setImmediate)
    expect(ends).toEqual([null, null])
    expect((await other.acquire('a')).granted.version).toBe(1)
    expect((await coordinator.status()).clients).toHaveLength(2)
  })

  it('ends a connection whose first word is not a hello, or which says hello twice', async () => {
    const { socket, events } = await start()
    const client = await TestClient.connect(socket)
    client.connection.send({ type: 'hello', protocol: 1, oldestProtocol: 1, name: 'again', software: 'test' })
    await client.ended
    expect(events.at(-2)).toMatchObject({ type: 'refused', error: { code: 'MESSAGE_INVALID' } })
    expect(events.at(-1)).toMatchObject({ type: 'detached' })
  })

  describe.skipIf(!canBeOthers)('with clients of other users', () => {
    const modes = (socket: string): string[] =>
      [join(socket, '..'), socket].map((path) => (statSync(path).mode & 0o777).toString(8))

    it('lets in root and the users of the list alone, with nothing else said', async () => {
      const { socket, events } = await start({ allowedUids: [4711] })
      expect(modes(socket)).toEqual(['711', '666'])
      await TestClient.connect(socket)
      expect(await answersTo(socket, { uid: 4711, gid: 4711 })).toEqual(['welcome'])
      const [refused] = await answersTo(socket, { uid: 4712, gid: 4713 })
      expect(refused).toMatch(
        /^CLIENT_REFUSED: Process \d+ of user 4712, group 4713 may not attach; allowed: users 0, 4711$/,
      )
      expect(events.filter(({ type }) => type === 'refused')).toMatchObject([{ pid: expect.any(Number), uid: 4712 }])
    })

    it('lets in the members of a group, whether it is their first or a further one', async () => {
      const { socket } = await start({ allowedGids: [5000] })
      expect(await answersTo(socket, { uid: 4711, gid: 5000 })).toEqual(['welcome'])
      expect(await answersTo(socket, { uid: 4711, gid: 4711, groups: [24, 5000] })).toEqual(['welcome'])
      const [refused] = await answersTo(socket, { uid: 4711, gid: 4711, groups: [24] })
      expect(refused).toMatch(/groups 5000$/)
    })

    it('a socket of a group is open to its members, and to nobody else', async () => {
      const { socket } = await start({ socketGroup: 5000 })
      expect(modes(socket)).toEqual(['710', '660'])
      expect(await answersTo(socket, { uid: 4711, gid: 4711, groups: [5000] })).toEqual(['welcome'])
      const [refused] = await answersTo(socket, { uid: 4711, gid: 4711 })
      expect(refused).toMatch(/EACCES/)
    })

    it('a group of its own and users beside it all come in', async () => {
      const { socket } = await start({ socketGroup: 5000, allowedUids: [4711] })
      expect(await answersTo(socket, { uid: 4712, gid: 4712, groups: [5000] })).toEqual(['welcome'])
      expect(await answersTo(socket, { uid: 4711, gid: 4711 })).toEqual(['welcome'])
    })

    it('lets in nobody else by default', async () => {
      const { socket } = await start()
      expect(modes(socket)).toEqual(['700', '600'])
      const [refused] = await answersTo(socket, { uid: 4711, gid: 4711 })
      expect(refused).toMatch(/EACCES/)
    })

    it('lets readers read, and nothing else', async () => {
      const options = { allowedUids: [4711], allowedGids: [4712], publisherUids: [4713], publisherGids: [4714] }
      const { coordinator, socket, model } = await start(options)
      const acquire = { type: 'acquire', checkpoint: 'a', version: null, waitMs: 0, selection: null }
      const settings = { backing: 'file', pinned: false, load: 'now', priority: 0 }
      const publish = { type: 'publish', checkpoint: 'b', source: model, ...settings }
      const retire = { type: 'retire', checkpoint: 'b' }
      const all = [acquire, { type: 'status' }, publish, retire]
      for (const ids of [
        { uid: 4711, gid: 1 },
        { uid: 1, gid: 4712 },
      ]) {
        const [welcome, granted, status, published, retired] = await answersTo(socket, ids, ...all)
        expect([welcome, granted, status]).toEqual(['welcome', 'granted', 'status'])
        expect(published).toMatch(
          new RegExp(
            `^PERMISSION_DENIED: Process \\d+ of user ${ids.uid} may read and not publish; that may: users 0, 4713, groups 4714`,
          ),
        )
        expect(retired).toMatch(/^PERMISSION_DENIED: .* may read and not retire/)
      }
      expect((await coordinator.status()).checkpoints).toHaveLength(1)
      for (const ids of [
        { uid: 4713, gid: 1 },
        { uid: 1, gid: 1, groups: [4714] },
      ]) {
        const answers = await answersTo(socket, ids, ...all)
        expect(answers).toEqual(['welcome', 'granted', 'status', 'done', 'done'])
      }
    })
  })
})
