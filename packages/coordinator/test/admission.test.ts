import { spawn, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fromWire, HELLO_TIMEOUT_MS } from '@onecopy/protocol'
import { connectUnix } from '@onecopy/sharedarraybuffer-utils'
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  type Coordinator,
  type CoordinatorEvent,
  type CoordinatorOptions,
  startCoordinator,
} from '../src/coordinator.ts'
import { openToOthers, othersCanRunHere, saveModel, TestClient, temporaryFolder, until } from './support.ts'

const canBeOthers = othersCanRunHere()

interface Started {
  readonly coordinator: Coordinator
  readonly socket: string
  readonly events: CoordinatorEvent[]
  readonly model: string
}

async function start(options: Omit<CoordinatorOptions, 'socket'> = {}): Promise<Started> {
  const folder = temporaryFolder()
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

/** What a process with these ids is answered to its hello: `welcome`, or the error's code and message. */
async function answerTo(socket: string, ids: readonly string[]): Promise<string> {
  const script = `import { clientConnection } from '@onecopy/protocol'
    import { connectUnix } from '@onecopy/sharedarraybuffer-utils'
    const connection = clientConnection(connectUnix(process.argv[1]), {
      onMessage: (message) => {
        console.log(message.type === 'refused' ? message.error.code + ': ' + message.error.message : message.type)
        connection.close()
      },
      onClose() {},
    })
    connection.send({ type: 'hello', protocol: 1, oldestProtocol: 1, name: 'other', software: 'test' })`
  const node = [process.execPath, '--input-type=module', '-e', script, socket]
  const child = spawn('setpriv', [...ids, '--', ...node], { cwd: new URL('.', import.meta.url) })
  let output = ''
  child.stdout.on('data', (text) => {
    output += text
  })
  child.stderr.on('data', (text) => {
    output += text
  })
  await new Promise((resolve) => child.on('close', resolve))
  return output.trim()
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
    it('lets in root and the users of the list alone', async () => {
      const { socket, events } = await start({ allowedUids: [4711] })
      openToOthers(socket)
      await TestClient.connect(socket)
      expect(await answerTo(socket, ['--reuid=4711', '--regid=4711', '--clear-groups'])).toBe('welcome')
      const refused = await answerTo(socket, ['--reuid=4712', '--regid=4713', '--clear-groups'])
      expect(refused).toMatch(
        /^CLIENT_REFUSED: Process \d+ of user 4712, group 4713 may not attach; allowed: users 0, 4711$/,
      )
      expect(events.filter(({ type }) => type === 'refused')).toHaveLength(1)
    })

    it('lets in the members of a group, whether it is their first or a further one', async () => {
      const { socket } = await start({ allowedGids: [5000] })
      openToOthers(socket)
      expect(await answerTo(socket, ['--reuid=4711', '--regid=5000', '--clear-groups'])).toBe('welcome')
      expect(await answerTo(socket, ['--reuid=4711', '--regid=4711', '--groups=24,5000'])).toBe('welcome')
      expect(await answerTo(socket, ['--reuid=4711', '--regid=4711', '--groups=24'])).toMatch(/groups 5000$/)
    })

    it('a socket of a group is open to its members, in a folder that is made for it, and to nobody else', async () => {
      const { socket } = await start({ socketGroup: 5000 })
      const folder = join(socket, '..', '..')
      spawnSync('chmod', ['711', folder])
      expect(await answerTo(socket, ['--reuid=4711', '--regid=4711', '--groups=5000'])).toBe('welcome')
      expect(await answerTo(socket, ['--reuid=4711', '--regid=4711', '--clear-groups'])).toMatch(/EACCES/)
    })

    it('lets in nobody else by default', async () => {
      const { socket } = await start()
      openToOthers(socket)
      const answer = await answerTo(socket, ['--reuid=4711', '--regid=4711', '--clear-groups'])
      expect(answer).toMatch(/allowed: users 0$/)
    })
  })
})
