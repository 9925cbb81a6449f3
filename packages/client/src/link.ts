import { setTimeout as sleep } from 'node:timers/promises'
import {
  type ClientConnection,
  type ClientMessage,
  CoordinatorError,
  type CoordinatorMessage,
  clientConnection,
  fromWire,
  HELLO_TIMEOUT_MS,
  OLDEST_PROTOCOL,
  PROTOCOL,
  type ProtocolError,
} from '@onecopy/protocol'
import { closeDescriptors, connectUnix, SharedMemoryError } from '@onecopy/sharedarraybuffer-utils/descriptors'

/** An answer, with the descriptors that came with it, which are the caller's to close. */
export interface Answer {
  readonly message: CoordinatorMessage
  readonly descriptors: readonly number[]
}

type Event = Extract<CoordinatorMessage, { type: 'version' | 'retired' | 'closing' }>
type RequestMessage = Exclude<ClientMessage, { type: 'hello' }>
/** A request before it has its number. */
export type Request = RequestMessage extends infer Message
  ? Message extends unknown
    ? Omit<Message, 'id'>
    : never
  : never

/** What a link tells. */
export interface LinkHandlers {
  readonly onEvent: (event: Event) => void
  /** The coordinator is gone; the link is of no further use. */
  readonly onLost: () => void
}

interface Pending {
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: Error) => void
}

/** Tries to connect to a listener whose queue is full. */
const CONNECT_TRIES = 20
const CONNECT_PAUSE_MS = 25

/** One connection to a coordinator, from the handshake to its end: requests, answers and events. */
export class Link {
  readonly #connection: ClientConnection
  readonly #pending = new Map<number, Pending>()
  readonly #welcomed: Promise<void>
  #greet: { resolve: () => void; reject: (error: Error) => void } | null = null
  #nextId = 1
  #lost = false

  private constructor(
    connection: (handlers: Parameters<typeof clientConnection>[1]) => ClientConnection,
    handlers: LinkHandlers,
  ) {
    this.#welcomed = new Promise((resolve, reject) => {
      this.#greet = { resolve, reject }
    })
    // Whoever connects hears of it; a link that was given up before that may fail silently.
    this.#welcomed.catch(() => {})
    this.#connection = connection({
      onMessage: (message, descriptors) => this.#onMessage(message, descriptors, handlers),
      onClose: (error) => this.#onClose(error, handlers),
    })
    this.#connection.setReferenced(false)
  }

  /**
   * Connects and shakes hands. A link never keeps the process alive; whoever waits for an answer sees to that.
   * @param name what the coordinator's status shows
   * @throws CoordinatorError COORDINATOR_UNREACHABLE, CLIENT_REFUSED; ProtocolError PROTOCOL_VERSION_MISMATCH
   */
  static async connect(socket: string, name: string, handlers: LinkHandlers): Promise<Link> {
    const stream = await connectPatiently(socket)
    const link = new Link((own) => clientConnection(stream, own), handlers)
    const timeout = setTimeout(() => {
      const message = `Coordinator at "${socket}" did not answer within ${HELLO_TIMEOUT_MS} ms`
      link.#greet?.reject(new CoordinatorError('COORDINATOR_UNREACHABLE', message, { path: socket }))
      link.close()
    }, HELLO_TIMEOUT_MS)
    timeout.unref()
    try {
      const versions = { protocol: PROTOCOL, oldestProtocol: OLDEST_PROTOCOL }
      link.#connection.send({ type: 'hello', ...versions, name, software: 'onecopy' })
      await link.#welcomed
      return link
    } catch (error) {
      link.close()
      throw error
    } finally {
      clearTimeout(timeout)
    }
  }

  get lost(): boolean {
    return this.#lost
  }

  /**
   * Asks, and waits for the answer.
   * @throws whatever the coordinator answered with; CoordinatorError COORDINATOR_UNREACHABLE when it is gone
   */
  request(request: Request, descriptors: readonly number[] = []): Promise<Answer> {
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      if (this.#lost) {
        reject(gone())
        return
      }
      this.#connection.send({ ...request, id } as RequestMessage, descriptors)
      this.#pending.set(id, { resolve, reject })
    })
  }

  close(): void {
    this.#connection.close()
  }

  #onMessage(message: CoordinatorMessage, descriptors: readonly number[], handlers: LinkHandlers): void {
    switch (message.type) {
      case 'welcome':
        this.#greet?.resolve()
        return
      case 'refused':
        this.#greet?.reject(fromWire(message.error))
        this.close()
        return
      case 'version':
      case 'retired':
      case 'closing':
        // After the answer before it: what is attached by that answer must hear of this event.
        setImmediate(() => handlers.onEvent(message))
        return
    }
    const pending = this.#pending.get(message.id)
    this.#pending.delete(message.id)
    if (message.type === 'error') pending?.reject(fromWire(message.error))
    else if (pending === undefined) closeDescriptors(descriptors)
    else pending.resolve({ message, descriptors })
  }

  #onClose(error: ProtocolError | null, handlers: LinkHandlers): void {
    this.#lost = true
    this.#greet?.reject(error === null || error.code === 'CONNECTION_CLOSED' ? gone(error) : error)
    for (const { reject } of this.#pending.values()) reject(gone(error))
    this.#pending.clear()
    handlers.onLost()
  }
}

function gone(cause: Error | null = null): CoordinatorError {
  const fields = cause === null ? {} : { cause }
  return new CoordinatorError('COORDINATOR_UNREACHABLE', 'The connection to the coordinator ended', fields)
}

async function connectPatiently(socket: string): Promise<ReturnType<typeof connectUnix>> {
  for (let tries = 1; ; tries++) {
    try {
      return connectUnix(socket)
    } catch (error) {
      if (!(error instanceof SharedMemoryError) || error.code !== 'SOCKET_FAILED') throw error
      // Its queue of connections is full: it is there, and busy.
      if (error.errnoName === 'EAGAIN' && tries < CONNECT_TRIES) {
        await sleep(CONNECT_PAUSE_MS, undefined, { ref: false })
        continue
      }
      throw new CoordinatorError('COORDINATOR_UNREACHABLE', explain(error, socket), { path: socket, cause: error })
    }
  }
}

function explain({ errnoName, message }: SharedMemoryError, socket: string): string {
  switch (errnoName) {
    case 'ENOENT':
      return `No coordinator at "${socket}": there is no such socket; start one with: onecopy serve <checkpoint> --socket ${socket}`
    case 'ECONNREFUSED':
      return `No coordinator at "${socket}": nobody listens any more; start it again with: onecopy serve <checkpoint> --socket ${socket}`
    case 'EACCES':
      return `Not allowed to use the socket "${socket}"; it belongs to another user, or to a group that this process is not in`
    default:
      return message
  }
}
