import { setTimeout as sleep } from 'node:timers/promises'
import {
  agreeOnProtocol,
  type ClientStatus,
  type CoordinatorConnection,
  CoordinatorError,
  coordinatorConnection,
  HELLO_TIMEOUT_MS,
  type Hello,
  OLDEST_PROTOCOL,
  PROTOCOL,
  SOFTWARE,
  toWire,
} from '@onecopy/protocol'
import { closeDescriptors, type UnixStream } from '@onecopy/sharedarraybuffer-utils'
import { Session, type SessionHost } from './session.ts'
import type { Version } from './version.ts'

/** How long a client has to take the last words of a coordinator that stops, in milliseconds. */
const FAREWELL_MS = 1000

/** Who may attach. */
export interface AdmissionOptions {
  /** User ids whose processes may attach, beside the coordinator's own user and root. @default none */
  readonly allowedUids?: readonly number[]
  /** Group ids whose processes may attach, beside the users. @default none, or `socketGroup` */
  readonly allowedGids?: readonly number[]
  /** Connections at a time. @default 1024 */
  readonly maxClients?: number
}

type AdmissionEvent =
  | { readonly type: 'attached' | 'detached'; readonly client: ClientStatus }
  | { readonly type: 'refused'; readonly error: Error }

/** Lets clients in: checks who they are and which protocol they speak, and keeps the list of those that are here. */
export class Admission {
  readonly #coordinator: string
  readonly #host: SessionHost
  readonly #uids: readonly number[]
  readonly #gids: readonly number[]
  readonly #maxClients: number
  readonly #tell: (event: AdmissionEvent) => void
  readonly #connections = new Set<CoordinatorConnection>()
  readonly #sessions = new Set<Session>()
  #nextId = 1

  constructor(
    coordinator: string,
    host: SessionHost,
    options: AdmissionOptions & { readonly socketGroup?: number },
    tell: (event: AdmissionEvent) => void,
  ) {
    this.#coordinator = coordinator
    this.#host = host
    this.#uids = [...new Set([0, process.geteuid?.() ?? 0, ...(options.allowedUids ?? [])])]
    this.#gids = options.allowedGids ?? (options.socketGroup === undefined ? [] : [options.socketGroup])
    this.#maxClients = options.maxClients ?? 1024
    this.#tell = tell
  }

  /** Takes a new connection over. */
  admit(stream: UnixStream): void {
    // Answers cost memory too: far beyond the limit, a connection is only closed.
    if (this.#connections.size >= 2 * this.#maxClients) {
      stream.close()
      return
    }
    let session: Session | null = null
    const connection = coordinatorConnection(stream, {
      onMessage: (message, descriptors) => {
        clearTimeout(hello)
        // The connection sees to it that the first message is a hello, and only the first.
        if (message.type === 'hello') session = this.#welcome(connection, message)
        else if (session === null) closeDescriptors(descriptors)
        else void session.handle(message, descriptors)
      },
      onClose: (error) => {
        clearTimeout(hello)
        this.#connections.delete(connection)
        // A client that dies with unread events breaks its connection; only what it did wrong is worth telling.
        if (error !== null && error.code !== 'CONNECTION_CLOSED') this.#tell({ type: 'refused', error })
        if (session === null) return
        const client = session.describe()
        this.#sessions.delete(session)
        session.end()
        this.#tell({ type: 'detached', client })
      },
    })
    this.#connections.add(connection)
    const hello = setTimeout(() => connection.close(), HELLO_TIMEOUT_MS)
    hello.unref()
  }

  announce(version: Version): void {
    for (const session of this.#sessions) session.announce(version)
  }

  announceRetired(checkpoint: string): void {
    for (const session of this.#sessions) session.announceRetired(checkpoint)
  }

  clients(): ClientStatus[] {
    return [...this.#sessions].map((session) => session.describe())
  }

  /** Tells everybody, and closes the connections once the words have gone out. */
  async close(reason: string): Promise<void> {
    const farewells = [...this.#sessions].map((session) => session.sayGoodbye(reason))
    const stop = new AbortController()
    await Promise.race([Promise.all(farewells), sleep(FAREWELL_MS, undefined, { signal: stop.signal })])
    stop.abort()
    for (const connection of this.#connections) connection.close()
    for (const session of this.#sessions) session.end()
    this.#sessions.clear()
  }

  #welcome(connection: CoordinatorConnection, hello: Hello): Session | null {
    // Refused only now: an answer before the hello could reach the client as a broken pipe.
    const refusal = this.#refusal(connection)
    const protocol = refusal ?? agreeOnProtocol(hello)
    if (typeof protocol !== 'number') {
      this.#refuse(connection, protocol)
      return null
    }
    const session = new Session(this.#nextId++, hello.name, connection, this.#host)
    this.#sessions.add(session)
    connection.send({
      type: 'welcome',
      protocol,
      coordinator: this.#coordinator,
      pid: process.pid,
      software: SOFTWARE,
      loading: this.#host.registry.loading,
    })
    this.#tell({ type: 'attached', client: session.describe() })
    return session
  }

  #refuse(connection: CoordinatorConnection, error: Error): void {
    const refused = {
      type: 'refused',
      error: toWire(error),
      protocol: PROTOCOL,
      oldestProtocol: OLDEST_PROTOCOL,
    } as const
    connection.send(refused, [], () => connection.close())
    this.#tell({ type: 'refused', error })
  }

  #refusal({ peer: { pid, uid, gid, groups } }: CoordinatorConnection): Error | null {
    if (!this.#uids.includes(uid) && ![gid, ...groups].some((group) => this.#gids.includes(group))) {
      const allowed = [`users ${this.#uids.join(', ')}`, this.#gids.length > 0 && `groups ${this.#gids.join(', ')}`]
      const message = `Process ${pid} of user ${uid}, group ${gid} may not attach; allowed: ${allowed.filter(Boolean).join(', ')}`
      return new CoordinatorError('CLIENT_REFUSED', message)
    }
    if (this.#sessions.size < this.#maxClients) return null
    return new CoordinatorError('CLIENT_REFUSED', `The coordinator has ${this.#maxClients} clients, the most it takes`)
  }
}
