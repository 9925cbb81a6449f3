import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
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
  SOFTWARE,
  type Welcome,
} from '@onecopy/protocol'
import {
  closeDescriptors,
  connectUnix,
  type Descriptor,
  SharedMemoryError,
} from '@onecopy/sharedarraybuffer-utils/descriptors'

/** An answer, with the descriptors that came with it, which are the caller's to close. */
export interface Answer {
  readonly message: CoordinatorMessage
  readonly descriptors: readonly Descriptor[]
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

/** Options of `Link.request`. */
export interface RequestOptions {
  /** Those that go with the request; they stay the caller's. */
  readonly descriptors?: readonly Descriptor[]
  /** Gives up waiting: the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal
  /** Goes on waiting for a coordinator that is frozen, since nobody else does. @default false */
  readonly patient?: boolean
}

interface Pending {
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: unknown) => void
  readonly patient: boolean
}

/** How long a coordinator is looked upon as alive, when answers are due and nothing comes; then it is asked for a sign. */
const PROBE_AFTER_MS = 5_000

/** How long that sign may take. It costs a coordinator nothing, so that one that does not give it is frozen. */
const SIGN_WITHIN_MS = 5_000

interface Silence {
  readonly probeAfterMs: number
  readonly signWithinMs: number
}

/** Of no lease: giving it back is answered at once, and does nothing. */
const NO_LEASE = 0

/** Tries to connect to a listener whose queue is full. */
const CONNECT_TRIES = 20
const CONNECT_PAUSE_MS = 25

/** One connection to a coordinator, from the handshake to its end: requests, answers and events. */
export class Link {
  readonly #connection: ClientConnection
  readonly #pending = new Map<number, Pending>()
  readonly #silence: Silence
  readonly #welcomed: Promise<Welcome>
  #welcome: Welcome | null = null
  #greet: { resolve: (welcome: Welcome) => void; reject: (error: Error) => void } | null = null
  #nextId = 1
  #lost = false
  #heardAt: number = performance.now()
  #watch: NodeJS.Timeout | null = null

  private constructor(
    connection: (handlers: Parameters<typeof clientConnection>[1]) => ClientConnection,
    handlers: LinkHandlers,
    silence: Silence,
  ) {
    this.#silence = silence
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
   * @throws CoordinatorError COORDINATOR_UNREACHABLE (also when it does not answer the greeting), CLIENT_REFUSED; ProtocolError PROTOCOL_VERSION_MISMATCH
   */
  static async connect(
    socket: string,
    name: string,
    handlers: LinkHandlers,
    silence: Silence = { probeAfterMs: PROBE_AFTER_MS, signWithinMs: SIGN_WITHIN_MS },
  ): Promise<Link> {
    const stream = await connectPatiently(socket)
    const link = new Link((own) => clientConnection(stream, own), handlers, silence)
    const timeout = setTimeout(() => {
      const message = `Coordinator at "${socket}" did not answer within ${HELLO_TIMEOUT_MS} ms: is it stopped or overloaded?`
      link.#greet?.reject(new CoordinatorError('COORDINATOR_UNREACHABLE', message, { path: socket }))
      link.close()
    }, HELLO_TIMEOUT_MS)
    timeout.unref()
    try {
      const versions = { protocol: PROTOCOL, oldestProtocol: OLDEST_PROTOCOL }
      link.#connection.send({ type: 'hello', ...versions, name, software: SOFTWARE })
      link.#welcome = await link.#welcomed
      return link
    } catch (error) {
      link.close()
      throw error
    } finally {
      clearTimeout(timeout)
    }
  }

  /** What the coordinator said of itself. */
  get welcome(): Welcome {
    return this.#welcome!
  }

  get lost(): boolean {
    return this.#lost
  }

  /**
   * Asks, and waits for the answer. What is answered when nobody waits any more is given back.
   * @throws whatever the coordinator answered with; CoordinatorError COORDINATOR_UNREACHABLE when it is gone,
   * COORDINATOR_TIMEOUT when it is frozen; the signal's reason
   */
  request(request: Request, options: RequestOptions = {}): Promise<Answer> {
    const { descriptors = [], signal, patient = false } = options
    const id = this.#nextId++
    return new Promise<Answer>((resolve, reject) => {
      if (signal?.aborted) throw signal.reason
      if (this.#lost) throw gone()
      this.#connection.send({ ...request, id } as RequestMessage, descriptors)
      const abandon = (): void => {
        this.#pending.delete(id)
        reject(signal?.reason)
      }
      const settled = (): void => signal?.removeEventListener('abort', abandon)
      signal?.addEventListener('abort', abandon)
      this.#pending.set(id, {
        resolve: (answer) => {
          settled()
          resolve(answer)
        },
        reject: (error) => {
          settled()
          reject(error)
        },
        patient,
      })
      if (!patient) this.#watchSilence()
    })
  }

  close(): void {
    this.#connection.close()
  }

  #onMessage(message: CoordinatorMessage, descriptors: readonly Descriptor[], handlers: LinkHandlers): void {
    this.#heardAt = performance.now()
    switch (message.type) {
      case 'welcome':
        this.#greet?.resolve(message)
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
    else if (pending !== undefined) pending.resolve({ message, descriptors })
    else {
      closeDescriptors(descriptors)
      if (message.type === 'granted' || message.type === 'resumed') this.giveBack(message.lease)
    }
  }

  /** Nobody waits for the answer. */
  giveBack(lease: number): void {
    this.request({ type: 'release', lease }, { patient: true }).catch(() => {})
  }

  /** As long as answers are due, a coordinator that says nothing is asked for a sign of life. */
  #watchSilence(): void {
    if (this.#watch !== null) return
    this.#watch = setTimeout(() => {
      this.#watch = null
      const due = [...this.#pending.values()].some(({ patient }) => !patient)
      if (!due || this.#lost) return
      if (performance.now() - this.#heardAt < this.#silence.probeAfterMs) this.#watchSilence()
      else this.#probe()
    }, this.#silence.probeAfterMs).unref()
  }

  #probe(): void {
    const askedAt = performance.now()
    this.giveBack(NO_LEASE)
    this.#watch = setTimeout(async () => {
      // This process may have been stopped itself: what has come meanwhile is read first.
      await nextTurn()
      await nextTurn()
      this.#watch = null
      if (this.#heardAt < askedAt) this.#giveUp()
      this.#watchSilence()
    }, this.#silence.signWithinMs).unref()
  }

  #giveUp(): void {
    const silentMs = Math.round(performance.now() - this.#heardAt)
    const message = `The coordinator has not said anything for ${silentMs} ms: is it stopped or overloaded?`
    for (const [id, { reject, patient }] of this.#pending) {
      if (patient) continue
      this.#pending.delete(id)
      reject(new CoordinatorError('COORDINATOR_TIMEOUT', message))
    }
  }

  #onClose(error: ProtocolError | null, handlers: LinkHandlers): void {
    this.#lost = true
    if (this.#watch !== null) clearTimeout(this.#watch)
    const own = ownLimit(error)
    this.#greet?.reject(own ?? (error === null || error.code === 'CONNECTION_CLOSED' ? gone(error) : error))
    for (const { reject } of this.#pending.values()) reject(own ?? gone(error))
    this.#pending.clear()
    handlers.onLost()
  }
}

function gone(cause: Error | null = null): CoordinatorError {
  const fields = cause === null ? {} : { cause }
  return new CoordinatorError('COORDINATOR_UNREACHABLE', 'The connection to the coordinator ended', fields)
}

/** The coordinator is there, and this process could not take what it sent: it may have no more files open. */
function ownLimit(error: ProtocolError | null): SharedMemoryError | null {
  const cause = error?.cause
  return cause instanceof SharedMemoryError && isFileLimit(cause) ? cause : null
}

function isFileLimit({ errnoName }: SharedMemoryError): boolean {
  return errnoName === 'EMFILE' || errnoName === 'ENFILE'
}

async function connectPatiently(socket: string): Promise<ReturnType<typeof connectUnix>> {
  for (let tries = 1; ; tries++) {
    try {
      return connectUnix(socket)
    } catch (error) {
      if (!(error instanceof SharedMemoryError) || error.code !== 'SOCKET_FAILED' || isFileLimit(error)) throw error
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
