import {
  closeDescriptors,
  type Descriptor,
  type PeerCredentials,
  type UnixStream,
} from '@onecopy/sharedarraybuffer-utils/descriptors'
import { decodeBody, encodeBody } from './body.ts'
import { ProtocolError } from './errors.ts'
import { encodeFrame, FRAME_LIMITS, FrameReader, HELLO_LIMITS } from './frame.ts'
import { checkAgreed } from './handshake.ts'
import {
  type ClientMessage,
  type CoordinatorMessage,
  clientMessage,
  coordinatorMessage,
  descriptorCountOf,
  type Message,
} from './messages.ts'
import type { Check } from './schema.ts'

/** What waits to be read by a peer, in bytes, before it is taken for one that never reads. */
export const MAX_PENDING_BYTES: number = 16 * 1024 * 1024

/**
 * How long a client may take over one frame, in milliseconds: half a frame takes memory and descriptors from the coordinator. It counts
 * from the frame's first byte.
 */
export const FRAME_TIMEOUT_MS = 30_000

/** What a connection calls. */
export interface ConnectionHandlers<Incoming extends Message> {
  /** A message that keeps to the schema, with exactly its descriptors, which are the handler's to close from here on. */
  readonly onMessage: (message: Incoming, descriptors: readonly Descriptor[]) => void
  /**
   * The connection has ended: called once, never from inside `send` or `close`. `null`: either side closed it in order.
   * Otherwise a code of ProtocolError: CONNECTION_CLOSED (it broke; `cause` is the system's error), CONNECTION_OVERFLOW,
   * or what the peer did wrong.
   */
  readonly onClose: (error: ProtocolError | null) => void
}

/** The coordinator's end of a connection: it hears a hello first, then requests. */
export type CoordinatorConnection = Connection<ClientMessage, CoordinatorMessage>

/** The client's end of a connection: it hears a welcome or a refusal first, then answers and events. */
export type ClientConnection = Connection<CoordinatorMessage, ClientMessage>

/** Begins to listen to a client that has connected. Until a `welcome` is sent to it, little is taken from it. */
export function coordinatorConnection(
  stream: UnixStream,
  handlers: ConnectionHandlers<ClientMessage>,
): CoordinatorConnection {
  return new Connection<ClientMessage, CoordinatorMessage>(stream, clientMessage, ['hello'], handlers)
}

/** Begins to listen to a coordinator; the hello is the caller's to send. */
export function clientConnection(
  stream: UnixStream,
  handlers: ConnectionHandlers<CoordinatorMessage>,
): ClientConnection {
  return new Connection<CoordinatorMessage, ClientMessage>(stream, coordinatorMessage, ['welcome', 'refused'], handlers)
}

/** Messages over a unix stream, for both ends. It keeps the order of the handshake: hello, welcome or refused, the rest. */
export class Connection<Incoming extends Message, Outgoing extends Message> {
  readonly #stream: UnixStream
  readonly #check: Check<Incoming>
  readonly #openings: readonly Incoming['type'][]
  readonly #handlers: ConnectionHandlers<Incoming>
  readonly #reader: FrameReader
  #phase: 'greeting' | 'greeted' | 'welcomed' = 'greeting'
  /** Runs while a client's frame is not complete. */
  #frameTimer: NodeJS.Timeout | undefined
  #closed = false

  /** @internal Use `coordinatorConnection` or `clientConnection`. */
  constructor(
    stream: UnixStream,
    check: Check<Incoming>,
    openings: readonly Incoming['type'][],
    handlers: ConnectionHandlers<Incoming>,
  ) {
    this.#stream = stream
    this.#check = check
    this.#openings = openings
    this.#handlers = handlers
    this.#reader = new FrameReader(openings.includes('hello') ? HELLO_LIMITS : FRAME_LIMITS)
    stream.start({
      onData: (bytes, descriptors) => this.#onData(bytes, descriptors),
      onEnd: (error) => this.#onEnd(error),
    })
  }

  /** Who is at the other end, as the kernel knows it; the only thing about a peer that can be trusted. */
  get peer(): PeerCredentials {
    return this.#stream.peer
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Bytes that the peer has not read yet. */
  get pendingBytes(): number {
    return this.#stream.pendingBytes
  }

  /** Whether this connection keeps the process alive. @default yes */
  setReferenced(referenced: boolean): void {
    if (!this.#closed) this.#stream.setReferenced(referenced)
  }

  /**
   * Sends a message; without effect when the connection is closed. A peer that never reads ends it with
   * CONNECTION_OVERFLOW.
   * @param descriptors as many as `descriptorCountOf(message)`; they stay the caller's
   * @param onSent called once, when all has gone out and when it never will: the descriptors may be closed then
   * @throws ProtocolError FRAME_TOO_LARGE, FRAME_INVALID (text that is not well-formed): nothing was sent, and `onSent`
   * is not called
   */
  send(message: Outgoing, descriptors: readonly Descriptor[] = [], onSent: () => void = () => {}): void {
    const expected = descriptorCountOf(message)
    if (descriptors.length !== expected) {
      throw new RangeError(`"${message.type}" goes with ${expected} descriptors, not with ${descriptors.length}`)
    }
    const frame = encodeFrame(encodeBody(message), descriptors.length)
    if (message.type === 'welcome') this.#welcome()
    this.#stream.write(frame, descriptors, onSent)
    const pending = this.#stream.pendingBytes
    if (pending <= MAX_PENDING_BYTES) return
    const text = `The peer does not read: ${pending} bytes wait for it, at most ${MAX_PENDING_BYTES} may`
    this.#end(new ProtocolError('CONNECTION_OVERFLOW', text, { actual: pending, limit: MAX_PENDING_BYTES }))
  }

  /** Closes at once; what has not gone out is dropped, see `onSent`. Idempotent. */
  close(): void {
    this.#end(null)
  }

  #onData(bytes: Uint8Array, descriptors: readonly Descriptor[]): void {
    this.#reader.push(bytes, descriptors)
    while (!this.#closed) {
      const received = this.#receive()
      if (received === null) break
      this.#stopFrameTimer()
      this.#handlers.onMessage(received.message, received.descriptors)
    }
    const isClient = this.#openings.includes('hello')
    if (this.#closed || !isClient || this.#reader.pendingBytes === 0 || this.#frameTimer !== undefined) return
    this.#frameTimer = setTimeout(() => {
      const text = `Invalid frame: it was not complete ${FRAME_TIMEOUT_MS} ms after it had begun`
      this.#end(new ProtocolError('FRAME_INVALID', text))
    }, FRAME_TIMEOUT_MS).unref()
  }

  #stopFrameTimer(): void {
    clearTimeout(this.#frameTimer)
    this.#frameTimer = undefined
  }

  /** The next message, or null until there is one and when the peer's mistake has ended the connection. */
  #receive(): { message: Incoming; descriptors: readonly Descriptor[] } | null {
    let descriptors: readonly Descriptor[] = []
    try {
      const frame = this.#reader.next()
      if (frame === null) return null
      descriptors = frame.descriptors
      const message = this.#check(decodeBody(frame.body), '')
      this.#checkOrder(message)
      this.#checkDescriptors(message, descriptors.length)
      return { message, descriptors }
    } catch (error) {
      closeDescriptors(descriptors)
      if (!(error instanceof ProtocolError)) throw error
      this.#end(error)
      return null
    }
  }

  #checkOrder(message: Incoming): void {
    const opens = this.#openings.includes(message.type)
    if (this.#phase === 'greeting' ? !opens : this.#phase === 'greeted' || opens) {
      const when = this.#phase === 'greeting' ? 'as the first message' : 'at this moment'
      throw new ProtocolError('MESSAGE_INVALID', `Invalid message: "${message.type}" cannot come ${when}`, {
        field: 'type',
      })
    }
    if (this.#phase === 'greeting') this.#phase = 'greeted'
    if (message.type !== 'welcome') return
    const mismatch = checkAgreed(message.protocol)
    if (mismatch !== null) throw mismatch
    this.#welcome()
  }

  #checkDescriptors(message: Incoming, count: number): void {
    const expected = descriptorCountOf(message)
    if (count === expected) return
    const text = `Invalid message: "${message.type}" came with ${count} descriptors, it must have ${expected}`
    throw new ProtocolError('MESSAGE_INVALID', text, { actual: count })
  }

  #welcome(): void {
    this.#phase = 'welcomed'
    this.#reader.limits = FRAME_LIMITS
  }

  #onEnd(cause: Error | null): void {
    if (cause === null && this.#reader.pendingBytes === 0) {
      this.#end(null)
      return
    }
    const text =
      cause === null
        ? 'The peer closed the connection in the middle of a frame'
        : `The connection broke: ${cause.message}`
    this.#end(new ProtocolError('CONNECTION_CLOSED', text, cause === null ? {} : { cause }))
  }

  #end(error: ProtocolError | null): void {
    if (this.#closed) return
    this.#closed = true
    this.#stopFrameTimer()
    this.#reader.dispose()
    this.#stream.close()
    queueMicrotask(() => this.#handlers.onClose(error))
  }
}
