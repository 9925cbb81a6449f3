import { fstatSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Descriptor, UnixStream } from '@onecopy/sharedarraybuffer-utils'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  agreeOnProtocol,
  type ClientConnection,
  type ClientMessage,
  type CoordinatorConnection,
  CoordinatorError,
  type CoordinatorMessage,
  clientConnection,
  coordinatorConnection,
  descriptorCountOf,
  FRAME_TIMEOUT_MS,
  fromWire,
  MAX_FRAME_BYTES,
  MAX_PENDING_BYTES,
  type Message,
  PROTOCOL,
  ProtocolError,
  toWire,
} from '../src/index.ts'
import {
  CLIENT_MESSAGES,
  COORDINATOR_MESSAGES,
  closeAll,
  connectedStreams,
  frameOf,
  HELLO,
  openDescriptorCount,
  openDescriptors,
  STATUS,
  until,
  WELCOME,
} from './support.ts'

/** What one end has heard. */
interface Heard<M extends Message> {
  readonly messages: M[]
  readonly descriptors: Descriptor[]
  readonly closes: (ProtocolError | null)[]
}

function listen<M extends Message>(): Heard<M> & {
  handlers: {
    onMessage: (message: M, descriptors: readonly Descriptor[]) => void
    onClose: (e: ProtocolError | null) => void
  }
} {
  const heard: Heard<M> = { messages: [], descriptors: [], closes: [] }
  return {
    ...heard,
    handlers: {
      onMessage: (message, descriptors) => {
        heard.messages.push(message)
        heard.descriptors.push(...descriptors)
      },
      onClose: (error) => heard.closes.push(error),
    },
  }
}

interface Pair {
  readonly coordinator: CoordinatorConnection
  readonly client: ClientConnection
  readonly atCoordinator: Heard<ClientMessage>
  readonly atClient: Heard<CoordinatorMessage>
}

/** Two ends that have said hello and welcome. */
async function connectedPair(): Promise<Pair> {
  const { coordinatorEnd, clientEnd } = await connectedStreams()
  const atCoordinator = listen<ClientMessage>()
  const atClient = listen<CoordinatorMessage>()
  const coordinator = coordinatorConnection(coordinatorEnd, atCoordinator.handlers)
  const client = clientConnection(clientEnd, atClient.handlers)
  client.send(HELLO)
  await until(() => atCoordinator.messages.length === 1)
  coordinator.send(WELCOME)
  await until(() => atClient.messages.length === 1)
  return { coordinator, client, atCoordinator, atClient }
}

/** A coordinator's end whose client is a bare stream that may send anything. */
async function hostileClient(greeted: boolean): Promise<{
  stream: UnixStream
  heard: Heard<ClientMessage>
  coordinator: CoordinatorConnection
}> {
  const { coordinatorEnd, clientEnd } = await connectedStreams()
  const heard = listen<ClientMessage>()
  const coordinator = coordinatorConnection(coordinatorEnd, heard.handlers)
  if (greeted) {
    clientEnd.write(frameOf(HELLO))
    await until(() => heard.messages.length === 1)
    coordinator.send(WELCOME)
    heard.messages.length = 0
  }
  return { stream: clientEnd, heard, coordinator }
}

describe('a connection', () => {
  it('carries every message in both directions, with its descriptors', async () => {
    const before = openDescriptorCount()
    const { coordinator, client, atCoordinator, atClient } = await connectedPair()
    const requests = CLIENT_MESSAGES.filter(({ type }) => type !== 'hello')
    const answers = COORDINATOR_MESSAGES.filter(({ type }) => type !== 'welcome' && type !== 'refused')
    const sent: Descriptor[] = []
    for (const message of requests) {
      const descriptors = openDescriptors(descriptorCountOf(message))
      client.send(message, descriptors, () => closeAll(descriptors))
      sent.push(...descriptors)
    }
    for (const message of answers) {
      const descriptors = openDescriptors(descriptorCountOf(message))
      coordinator.send(message, descriptors, () => closeAll(descriptors))
    }
    await until(() => atCoordinator.messages.length === 1 + requests.length)
    await until(() => atClient.messages.length === 1 + answers.length)
    expect(atCoordinator.messages.slice(1)).toEqual(requests)
    expect(atClient.messages.slice(1)).toEqual(answers)
    expect(atCoordinator.descriptors).toHaveLength(sent.length)
    expect(sent).toHaveLength(3 + 4 + 1)
    closeAll([...atCoordinator.descriptors, ...atClient.descriptors])
    expect(coordinator.peer).toMatchObject({ pid: process.pid, uid: process.getuid?.() })
    client.close()
    await until(() => atCoordinator.closes.length === 1)
    expect([...atCoordinator.closes, ...atClient.closes]).toEqual([null, null])
    await until(() => openDescriptorCount() <= before, 'nothing stays open')
  })

  it('carries more descriptors than one message of the kernel, in order', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'onecopy-many-'))
    const before = openDescriptorCount()
    const { coordinator, atClient, client } = await connectedPair()
    const files = Array.from({ length: 601 }, (_, index) => join(folder, `${index}`))
    for (const [index, file] of files.entries()) writeFileSync(file, Buffer.alloc(index))
    const descriptors = files.flatMap((file) => openDescriptors(1, file))
    const shards = files.slice(1).map((name, index) => ({ name: `${name.length}`, byteLength: index + 1 }))
    const granted = COORDINATOR_MESSAGES.find(({ type }) => type === 'granted') as CoordinatorMessage & {
      type: 'granted'
    }
    coordinator.send({ ...granted, shards }, descriptors, () => closeAll(descriptors))
    coordinator.send({ type: 'done', id: 1, result: null })
    await until(() => atClient.messages.length === 3)
    expect(atClient.messages[1]).toEqual({ ...granted, shards })
    expect(atClient.descriptors.map(({ number }) => fstatSync(number).size)).toEqual(files.map((_, index) => index))
    closeAll(atClient.descriptors)
    client.close()
    coordinator.close()
    await until(() => openDescriptorCount() <= before, 'nothing stays open')
    await rm(folder, { recursive: true })
  })

  it('is cut when a client leaves a frame half written, and not when it says nothing', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const { stream, heard } = await hostileClient(true)
    vi.advanceTimersByTime(2 * FRAME_TIMEOUT_MS)
    const whole = frameOf({ type: 'status', id: 1 })
    stream.write(whole.subarray(0, 12))
    await until(() => vi.getTimerCount() === 1, 'half a frame has come')
    vi.advanceTimersByTime(FRAME_TIMEOUT_MS - 1)
    stream.write(Buffer.concat([whole.subarray(12), whole.subarray(0, 12)]))
    await until(() => heard.messages.length === 1, 'the frame is complete')
    await until(() => vi.getTimerCount() === 1, 'the next one has begun')
    vi.advanceTimersByTime(FRAME_TIMEOUT_MS - 1)
    expect(heard.closes).toEqual([])
    vi.advanceTimersByTime(1)
    await until(() => heard.closes.length === 1, 'the connection is cut')
    expect(heard.closes[0]).toMatchObject({ code: 'FRAME_INVALID' })
    stream.close()
  })

  it('understands messages that come byte by byte, each with its descriptors', async () => {
    const { stream, heard } = await hostileClient(true)
    const resume = CLIENT_MESSAGES.find(({ type }) => type === 'resume')!
    const frames = [...frameOf(resume, 3), ...frameOf({ type: 'status', id: 1 })]
    const descriptors = openDescriptors(3)
    for (const [index, byte] of frames.entries()) {
      stream.write(Buffer.of(byte), index < 3 ? [descriptors[index]!] : [])
      if (index % 16 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    await until(() => heard.messages.length === 2)
    expect(heard.messages).toEqual([resume, { type: 'status', id: 1, residency: false }])
    expect(heard.descriptors).toHaveLength(3)
    closeAll([...descriptors, ...heard.descriptors])
  })

  it('ends once, later, and in order when it is closed', async () => {
    const { coordinator, client, atCoordinator, atClient } = await connectedPair()
    const sent: string[] = []
    client.close()
    client.close()
    expect(atClient.closes).toEqual([])
    client.send({ type: 'status', id: 1 }, [], () => sent.push('dropped'))
    expect(sent).toEqual(['dropped'])
    client.setReferenced(false)
    await until(() => atCoordinator.closes.length === 1)
    expect([...atClient.closes, ...atCoordinator.closes]).toEqual([null, null])
    expect([client.closed, coordinator.closed, client.pendingBytes]).toEqual([true, true, 0])
  })

  it('delivers nothing more after its handler closed it', async () => {
    const { coordinatorEnd, clientEnd } = await connectedStreams()
    const heard: ClientMessage[] = []
    const connection = coordinatorConnection(coordinatorEnd, {
      onMessage: (message) => {
        heard.push(message)
        connection.close()
      },
      onClose: () => {},
    })
    clientEnd.write(Buffer.concat([frameOf(HELLO), frameOf(HELLO)]))
    await until(() => heard.length > 0 && connection.closed)
    expect(heard).toHaveLength(1)
  })

  it('tells a peer that vanished in the middle of a frame from one that left', async () => {
    const { stream, heard } = await hostileClient(true)
    // Reads its welcome: who leaves without having read everything resets the connection.
    const read = new Promise<void>((resolve) => stream.start({ onData: () => resolve(), onEnd: () => {} }))
    stream.write(frameOf({ type: 'status', id: 1 }).subarray(0, 11))
    await read
    stream.close()
    await until(() => heard.closes.length === 1)
    expect(heard.closes[0]).toMatchObject({
      code: 'CONNECTION_CLOSED',
      message: expect.stringMatching(/middle of a frame/),
    })
  })

  it('tells a connection that broke by the error of the system', async () => {
    const { stream, heard } = await hostileClient(true)
    stream.close()
    await until(() => heard.closes.length === 1)
    expect(heard.closes[0]).toMatchObject({ code: 'CONNECTION_CLOSED', cause: { errnoName: 'ECONNRESET' } })
  })

  it('refuses to send what the peer would refuse', async () => {
    const { coordinator, client, atClient } = await connectedPair()
    const granted = COORDINATOR_MESSAGES.find(({ type }) => type === 'granted')!
    expect(() => coordinator.send(granted, [])).toThrow(RangeError)
    expect(() => client.send({ type: 'retire', id: 1, checkpoint: '\ud800' })).toThrow(
      expect.objectContaining({ code: 'FRAME_INVALID' }),
    )
    const source = Array.from({ length: 3000 }, () => 'x'.repeat(3000))
    const publish = CLIENT_MESSAGES.find(({ type }) => type === 'publish') as ClientMessage & { type: 'publish' }
    expect(() => client.send({ ...publish, source })).toThrow(expect.objectContaining({ code: 'FRAME_TOO_LARGE' }))
    coordinator.send({ type: 'done', id: 1, result: null })
    await until(() => atClient.messages.length === 2)
  })

  it('gives up a peer that never reads, and disturbs no other', async () => {
    const { heard, coordinator } = await hostileClient(true)
    const other = await connectedPair()
    const status = { ...STATUS, clients: Array.from({ length: 5000 }, () => STATUS.clients[0]!) }
    let unsent = 0
    let highest = 0
    for (let id = 0; !coordinator.closed; id++) {
      unsent++
      coordinator.send({ type: 'status', id, status }, [], () => {
        unsent--
      })
      highest = Math.max(highest, coordinator.pendingBytes)
    }
    expect(heard.closes).toEqual([])
    await until(() => heard.closes.length === 1)
    expect(heard.closes[0]).toMatchObject({ code: 'CONNECTION_OVERFLOW', limit: MAX_PENDING_BYTES })
    expect(unsent).toBe(0)
    expect(highest).toBeLessThanOrEqual(MAX_PENDING_BYTES + MAX_FRAME_BYTES)
    other.client.send({ type: 'status', id: 1 })
    await until(() => other.atCoordinator.messages.length === 2)
  })
})

describe('the handshake', () => {
  it('refuses another version with an error that is a class at the other end and names both', async () => {
    const { coordinatorEnd, clientEnd } = await connectedStreams()
    const atClient = listen<CoordinatorMessage>()
    const coordinator = coordinatorConnection(coordinatorEnd, {
      onMessage: (message) => {
        const agreed = message.type === 'hello' ? agreeOnProtocol(message) : PROTOCOL
        if (typeof agreed === 'number') return
        coordinator.send({ type: 'refused', error: toWire(agreed), protocol: PROTOCOL, oldestProtocol: 1 }, [], () =>
          coordinator.close(),
        )
      },
      onClose: () => {},
    })
    const client = clientConnection(clientEnd, atClient.handlers)
    client.send({ ...HELLO, protocol: 9, oldestProtocol: 8 })
    await until(() => atClient.closes.length === 1)
    expect(atClient.closes).toEqual([null])
    const refused = atClient.messages[0] as CoordinatorMessage & { type: 'refused' }
    const error = fromWire(refused.error)
    expect(error).toBeInstanceOf(ProtocolError)
    expect(error).toMatchObject({ code: 'PROTOCOL_VERSION_MISMATCH', clientProtocols: { oldest: 8, newest: 9 } })
    expect(error.message).toMatch(/version 1, the client versions 8 to 9/)
  })

  it('takes errors of requests across as classes', async () => {
    const { coordinator, atClient } = await connectedPair()
    const error = new CoordinatorError('CHECKPOINT_UNKNOWN', 'No checkpoint "x"', {
      checkpoint: 'x',
      candidates: ['y'],
    })
    coordinator.send({ type: 'error', id: 1, error: toWire(error) })
    await until(() => atClient.messages.length === 2)
    const received = fromWire((atClient.messages[1] as CoordinatorMessage & { type: 'error' }).error)
    expect(received).toBeInstanceOf(CoordinatorError)
    expect(received).toMatchObject({ code: 'CHECKPOINT_UNKNOWN', checkpoint: 'x', candidates: ['y'] })
  })

  it('does not let a client say anything before hello, or before it is welcome', async () => {
    const early = await hostileClient(false)
    early.stream.write(frameOf({ type: 'status', id: 1 }))
    await until(() => early.heard.closes.length === 1)
    expect(early.heard.closes[0]).toMatchObject({ code: 'MESSAGE_INVALID', field: 'type' })

    const hasty = await hostileClient(false)
    hasty.stream.write(Buffer.concat([frameOf(HELLO), frameOf({ type: 'status', id: 1 })]))
    await until(() => hasty.heard.closes.length === 1)
    expect(hasty.heard.messages).toEqual([HELLO])
    expect(hasty.heard.closes[0]).toMatchObject({ code: 'MESSAGE_INVALID' })

    const twice = await hostileClient(true)
    twice.stream.write(frameOf(HELLO))
    await until(() => twice.heard.closes.length === 1)
    expect(twice.heard.closes[0]).toMatchObject({ code: 'MESSAGE_INVALID' })
  })

  it('does not let a coordinator choose a version that was not offered, nor begin with anything else', async () => {
    for (const first of [
      { ...WELCOME, protocol: 2 },
      { type: 'closing', reason: 'x' },
    ]) {
      const { coordinatorEnd, clientEnd } = await connectedStreams()
      const heard = listen<CoordinatorMessage>()
      clientConnection(clientEnd, heard.handlers)
      coordinatorEnd.write(frameOf(first))
      await until(() => heard.closes.length === 1)
      expect(heard.messages).toEqual([])
      expect(heard.closes[0]?.code).toMatch(/^(PROTOCOL_VERSION_MISMATCH|MESSAGE_INVALID)$/)
    }
  })
})

describe('a hostile client', () => {
  it.each([
    ['descriptors before its hello', false, frameOf(HELLO), 3, 'FRAME_INVALID'],
    ['a hello of more than 4 KiB', false, frameOf({ ...HELLO, name: 'x'.repeat(5000) }), 0, 'FRAME_TOO_LARGE'],
    ['descriptors with a message that has none', true, frameOf({ type: 'status', id: 1 }, 2), 2, 'MESSAGE_INVALID'],
    ['too few descriptors', true, frameOf(CLIENT_MESSAGES[4], 2), 2, 'MESSAGE_INVALID'],
    ['descriptors with an unknown message', true, frameOf({ type: 'x' }, 2), 2, 'MESSAGE_INVALID'],
    ['descriptors with a body that is no msgpack', true, Buffer.from('0100000002000000c1', 'hex'), 2, 'FRAME_INVALID'],
    ['descriptors with half a frame', true, frameOf(CLIENT_MESSAGES[4], 3).subarray(0, 20), 9, 'FRAME_INVALID'],
    ['a huge length', true, Buffer.from('ffffffff00000000', 'hex'), 1, 'FRAME_TOO_LARGE'],
  ])('is disconnected for %s, and what it sent is closed', async (_, greeted, bytes, count, code) => {
    const { stream, heard } = await hostileClient(greeted)
    const before = openDescriptorCount()
    const descriptors = openDescriptors(count)
    stream.write(bytes, descriptors, () => closeAll(descriptors))
    await until(() => heard.closes.length === 1)
    expect(heard.closes[0]).toMatchObject({ name: 'ProtocolError', code })
    expect(heard.messages.filter(({ type }) => type !== 'hello')).toEqual([])
    // The descriptors, and the coordinator's end of the connection.
    expect(openDescriptorCount()).toBe(before - 1)
  })

  it('gets no further with random bytes, mutated frames and half frames, and leaks nothing', async () => {
    const before = openDescriptorCount()
    const valid = fc
      .constantFrom(...CLIENT_MESSAGES)
      .map((message) => new Uint8Array(frameOf(message, descriptorCountOf(message))))
    const mutated = fc
      .tuple(valid, fc.nat(1000), fc.nat(255))
      .map(([bytes, at, byte]) => bytes.with(at % bytes.length, byte))
    const half = fc.tuple(valid, fc.nat(200)).map(([bytes, end]) => bytes.slice(0, end))
    const piece = fc.record({
      bytes: fc.oneof(valid, mutated, half, fc.uint8Array({ minLength: 1 })),
      count: fc.nat(3),
    })
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.array(piece, { minLength: 1, maxLength: 6 }), async (greeted, pieces) => {
        const { stream, heard, coordinator } = await hostileClient(greeted)
        for (const { bytes, count } of pieces.filter((each) => each.bytes.length > 0)) {
          const descriptors = openDescriptors(count)
          stream.write(bytes, descriptors, () => closeAll(descriptors))
        }
        await new Promise((resolve) => setImmediate(resolve))
        stream.close()
        await until(() => heard.closes.length === 1)
        expect(heard.closes[0] ?? new ProtocolError('CONNECTION_CLOSED', '')).toBeInstanceOf(ProtocolError)
        expect(coordinator.closed).toBe(true)
        closeAll(heard.descriptors)
        await until(() => openDescriptorCount() <= before, 'nothing stays open')
      }),
      { numRuns: 300 },
    )
  })
})
