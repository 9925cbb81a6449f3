import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CoordinatorError, HELLO_TIMEOUT_MS, ProtocolError, SOFTWARE, toWire } from '@onecopy/protocol'
import { connectUnix, listenUnix, UnixListener } from '@onecopy/sharedarraybuffer-utils'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Link, type LinkHandlers } from '../src/link.ts'
import { descriptorCount, grantOf, refusal, saveModel, standIn, temporaryFolder, until, WELCOME } from './support.ts'

function handlers() {
  const events: unknown[] = []
  let lost = 0
  const own: LinkHandlers = {
    onEvent: (event) => events.push(event),
    onLost: () => lost++,
  }
  return { own, events, lost: () => lost }
}

const socketOf = (): string => join(temporaryFolder(), 'socket')

describe('Link.connect()', () => {
  afterEach(() => void vi.useRealTimers())

  it('says hello and waits for the welcome', async () => {
    const socket = socketOf()
    const { counterparts } = await standIn(socket, (message, { connection }) => {
      if (message.type === 'hello') connection.send(WELCOME)
    })
    const { own, lost } = handlers()
    const link = await Link.connect(socket, 'reader', own)
    expect(counterparts[0]!.heard).toEqual([
      { type: 'hello', protocol: 1, oldestProtocol: 1, name: 'reader', software: SOFTWARE },
    ])
    expect([link.lost, lost()]).toEqual([false, 0])
    link.close()
    await until(() => lost() === 1)
    expect(link.lost).toBe(true)
    expect(await refusal(link.request({ type: 'status' }))).toMatchObject({ code: 'COORDINATOR_UNREACHABLE' })
  })

  it.each([
    ['a socket that is not there', 'ENOENT', /there is no such socket; start one with: onecopy serve/],
    ['a socket that nobody serves', 'ECONNREFUSED', /nobody listens any more; start it again/],
    ['a file', 'ECONNREFUSED', /nobody listens any more/],
    ['a folder that is none', 'ENOTDIR', /ENOTDIR/],
    ['a path that is too long', 'ENAMETOOLONG', /at most 107/],
  ])('explains %s', async (what, errnoName, text) => {
    const folder = temporaryFolder()
    let socket = join(folder, 'socket')
    if (what === 'a socket that nobody serves') listenUnix(socket).close()
    if (what.startsWith('a file') || what.startsWith('a folder')) writeFileSync(socket, '')
    if (what.startsWith('a folder')) socket = join(socket, 'below')
    if (what.startsWith('a path')) socket = join(folder, 'x'.repeat(200))
    const before = descriptorCount()
    const error = await refusal(Link.connect(socket, 'x', handlers().own))
    expect(error).toMatchObject({ name: 'CoordinatorError', code: 'COORDINATOR_UNREACHABLE', path: socket })
    expect(error.message).toMatch(text)
    expect(error.cause).toMatchObject({ errnoName })
    expect(descriptorCount()).toBe(before)
  })

  it('tries again while the listener’s queue is full', async () => {
    const socket = socketOf()
    const listening = listenUnix(socket, 0o600, 1)
    const queued = [connectUnix(socket), connectUnix(socket)]
    // Its first try has failed when the call returns.
    const connecting = Link.connect(socket, 'x', handlers().own)
    connecting.catch(() => {})
    const accepted: { close(): void }[] = []
    const listener = new UnixListener(
      listening,
      (stream) => accepted.push(stream),
      () => {},
    )
    await until(() => accepted.length === 3)
    for (const stream of [...queued, ...accepted]) stream.close()
    listener.close()
    expect(await refusal(connecting)).toMatchObject({ code: 'COORDINATOR_UNREACHABLE' })
  })

  it('passes a refusal on as the error that it was', async () => {
    const mismatch = new ProtocolError('PROTOCOL_VERSION_MISMATCH', 'another version', {
      coordinatorProtocols: { oldest: 7, newest: 9 },
      clientProtocols: { oldest: 1, newest: 1 },
    })
    for (const error of [mismatch, new CoordinatorError('CLIENT_REFUSED', 'not you')]) {
      const own = join(temporaryFolder(), 'socket')
      await standIn(own, (_, { connection }) => {
        const refused = { type: 'refused', error: toWire(error), protocol: 9, oldestProtocol: 7 } as const
        connection.send(refused, [], () => connection.close())
      })
      const { own: listeners, lost } = handlers()
      const found = await refusal(Link.connect(own, 'x', listeners))
      expect(found).toBeInstanceOf(error.constructor)
      expect(found).toMatchObject({ code: error.code, message: error.message })
      await until(() => lost() === 1)
    }
  })

  it('gives up a coordinator that does not answer', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const socket = socketOf()
    const { counterparts } = await standIn(socket, () => {})
    const connecting = refusal(Link.connect(socket, 'x', handlers().own))
    // By hand, since until() waits with timers.
    for (const begin = performance.now(); counterparts[0]?.heard[0] === undefined; await new Promise(setImmediate)) {
      if (performance.now() - begin > 30_000) expect.fail('the coordinator has not heard the hello')
    }
    vi.advanceTimersByTime(HELLO_TIMEOUT_MS)
    const error = await connecting
    expect(error).toMatchObject({ code: 'COORDINATOR_UNREACHABLE', path: socket })
    expect(error.message).toContain(`Coordinator at "${socket}" did not answer within ${HELLO_TIMEOUT_MS} ms`)
  })

  it('is refused a name that cannot be sent, without an unhandled rejection and without a connection left', async () => {
    const socket = socketOf()
    const { counterparts } = await standIn(socket, () => {})
    const before = descriptorCount()
    expect(await refusal(Link.connect(socket, '\ud800', handlers().own))).toMatchObject({ code: 'FRAME_INVALID' })
    await until(() => counterparts.length === 1 && counterparts[0]!.connection.closed)
    expect(descriptorCount()).toBe(before)
  })

  it('hears a coordinator that ends the connection at once, or speaks nonsense', async () => {
    for (const nonsense of [false, true]) {
      const socket = socketOf()
      await standIn(socket, (_, { connection }) => {
        if (nonsense) connection.send({ type: 'done', id: 1, result: null })
        else connection.close()
      })
      const code = nonsense ? 'MESSAGE_INVALID' : 'COORDINATOR_UNREACHABLE'
      expect(await refusal(Link.connect(socket, 'x', handlers().own))).toMatchObject({ code })
    }
  })

  it.skipIf(process.geteuid?.() === 0)('explains a mode that leaves this user out', async () => {
    const socket = socketOf()
    await standIn(socket, () => {})
    chmodSync(socket, 0)
    expect((await refusal(Link.connect(socket, 'x', handlers().own))).message).toContain('Not allowed to use')
  })
})

describe('Link', () => {
  it('gives each request its own answer, in whatever order they come', async () => {
    const socket = socketOf()
    const asked: number[] = []
    await standIn(socket, (message, { connection }) => {
      if (message.type === 'hello') return connection.send(WELCOME)
      asked.push(message.id)
      if (asked.length < 3) return
      for (const id of [...asked].reverse()) connection.send({ type: 'done', id, result: { version: id } })
    })
    const link = await Link.connect(socket, 'x', handlers().own)
    const answers = await Promise.all([1, 2, 3].map(() => link.request({ type: 'retire', checkpoint: 'a' })))
    expect(answers.map(({ message }) => message)).toMatchObject([1, 2, 3].map((version) => ({ result: { version } })))
    link.close()
  })

  it('rejects all that wait when the coordinator goes, and tells once', async () => {
    const socket = socketOf()
    const { counterparts } = await standIn(socket, (message, { connection }) => {
      if (message.type === 'hello') connection.send(WELCOME)
    })
    const { own, lost } = handlers()
    const link = await Link.connect(socket, 'x', own)
    const waiting = [1, 2, 3].map(() => refusal(link.request({ type: 'status' })))
    await until(() => counterparts[0]!.heard.length === 4)
    counterparts[0]!.connection.close()
    for (const error of await Promise.all(waiting)) expect(error).toMatchObject({ code: 'COORDINATOR_UNREACHABLE' })
    expect(lost()).toBe(1)
  })

  it('closes descriptors that come with answers nobody asked for', async () => {
    const { granted, descriptors } = await grantOf(await saveModel(join(temporaryFolder(), 'model')))
    const socket = socketOf()
    await standIn(socket, (message, { connection }) => {
      if (message.type === 'hello') return connection.send(WELCOME)
      for (let id = 100; id < 120; id++) connection.send({ ...granted, id }, descriptors)
      connection.send({ type: 'done', id: message.id, result: null })
    })
    const link = await Link.connect(socket, 'x', handlers().own)
    const before = descriptorCount()
    await link.request({ type: 'retire', checkpoint: 'a' })
    expect(descriptorCount()).toBe(before)
    link.close()
  })

  it('tells events after the answer that came before them', async () => {
    const socket = socketOf()
    await standIn(socket, (message, { connection }) => {
      if (message.type === 'hello') return connection.send(WELCOME)
      connection.send({ type: 'done', id: message.id, result: null })
      connection.send({ type: 'retired', checkpoint: 'a' })
    })
    const { own, events } = handlers()
    const link = await Link.connect(socket, 'x', own)
    await link.request({ type: 'retire', checkpoint: 'a' })
    expect(events).toEqual([])
    await until(() => events.length > 0)
    expect(events).toEqual([{ type: 'retired', checkpoint: 'a' }])
    link.close()
  })

  it('a request that cannot be sent is refused, and the link goes on', async () => {
    const socket = socketOf()
    await standIn(socket, (message, { connection }) => {
      if (message.type === 'hello') connection.send(WELCOME)
      else connection.send({ type: 'done', id: message.id, result: null })
    })
    const link = await Link.connect(socket, 'x', handlers().own)
    expect(await refusal(link.request({ type: 'retire', checkpoint: '\udc00' }))).toMatchObject({
      code: 'FRAME_INVALID',
    })
    expect((await link.request({ type: 'retire', checkpoint: 'a' })).message.type).toBe('done')
    link.close()
  })
})

describe('Link.request() of a coordinator that is silent', () => {
  const silence = { probeAfterMs: 20, signWithinMs: 50 }

  it('ends when no sign of life comes, and gives back what is answered later', async () => {
    const socket = socketOf()
    const { counterparts } = await standIn(socket, (message, { connection }) => {
      if (message.type === 'hello') connection.send(WELCOME)
    })
    const link = await Link.connect(socket, 'x', handlers().own, silence)
    const acquire = { type: 'acquire', checkpoint: 'a', version: null, waitMs: 0, selection: null } as const
    const error = await refusal(link.request(acquire))
    expect(error).toMatchObject({ code: 'COORDINATOR_TIMEOUT' })
    expect(link.lost).toBe(false)
    const [{ connection, heard } = expect.fail('nobody connected')] = counterparts
    const { granted, descriptors } = await grantOf(await saveModel(join(temporaryFolder(), 'model')))
    const { id } = heard.find(({ type }) => type === 'acquire') as { id: number }
    const before = descriptorCount()
    connection.send({ ...granted, id, lease: 77 }, descriptors)
    await until(() => heard.some((message) => message.type === 'release' && message.lease === 77))
    await until(() => descriptorCount() <= before, 'what was granted is closed')
    link.close()
  })

  it('goes on when it is alive, however long the answer takes', async () => {
    const socket = socketOf()
    let probes = 0
    await standIn(socket, (message, { connection, heard }) => {
      if (message.type === 'hello') connection.send(WELCOME)
      if (message.type !== 'release') return
      connection.send({ type: 'done', id: message.id, result: null })
      if (++probes < 3) return
      const { id } = heard.find(({ type }) => type === 'publish') as { id: number }
      connection.send({ type: 'done', id, result: { version: 9 } })
    })
    const link = await Link.connect(socket, 'x', handlers().own, silence)
    const settings = { backing: 'file', pinned: false, load: 'now', priority: 0 } as const
    const { message } = await link.request({ type: 'publish', checkpoint: 'a', source: '/a', ...settings })
    expect(message).toMatchObject({ result: { version: 9 } })
    link.close()
  })

  it('ends with the reason of its signal, and gives back what is answered later', async () => {
    const socket = socketOf()
    await standIn(socket, (message, { connection }) => {
      if (message.type === 'hello') connection.send(WELCOME)
    })
    const link = await Link.connect(socket, 'x', handlers().own)
    const stop = new AbortController()
    const asking = refusal(link.request({ type: 'status' }, { signal: stop.signal }))
    stop.abort(new RangeError('no more'))
    expect(await asking).toMatchObject({ message: 'no more' })
    expect(await refusal(link.request({ type: 'status' }, { signal: stop.signal }))).toMatchObject({
      message: 'no more',
    })
    link.close()
  })
})
