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
import type { Access, Role } from './access.ts'
import { Session, type SessionHost } from './session.ts'
import type { Version } from './version.ts'

/** How long a client has to take the last words of a coordinator that stops, in milliseconds. */
const FAREWELL_MS = 1000

/** Connections beyond the clients that may be there, so that those who are too many hear it. */
const SPARE_CONNECTIONS = 16

type AdmissionEvent =
  | { readonly type: 'attached' | 'detached'; readonly client: ClientStatus }
  | { readonly type: 'refused'; readonly error: Error; readonly pid: number; readonly uid: number }

/** Lets clients in: checks who they are and which protocol they speak, and keeps the list of those that are here. */
export class Admission {
  readonly #coordinator: string
  readonly #host: SessionHost
  readonly #access: Access
  readonly #maxClients: number
  readonly #tell: (event: AdmissionEvent) => void
  /** All that are open; those that have not said hello yet with what ends them, the longest silent first. */
  readonly #connections = new Set<CoordinatorConnection>()
  readonly #silent = new Map<CoordinatorConnection, NodeJS.Timeout>()
  readonly #sessions = new Set<Session>()
  #nextId = 1

  constructor(
    coordinator: string,
    host: SessionHost,
    access: Access,
    maxClients: number,
    tell: (event: AdmissionEvent) => void,
  ) {
    this.#coordinator = coordinator
    this.#host = host
    this.#access = access
    this.#maxClients = maxClients
    this.#tell = tell
  }

  /** Takes a new connection over. */
  admit(stream: UnixStream): void {
    // Whoever says nothing makes room for who may have something to say; nobody else does.
    if (this.#connections.size >= this.#maxClients + SPARE_CONNECTIONS) {
      const [longest] = this.#silent.keys()
      if (longest === undefined) {
        stream.close()
        return
      }
      this.#forget(longest)
      longest.close()
    }
    let session: Session | null = null
    const connection = coordinatorConnection(stream, {
      onMessage: (message, descriptors) => {
        this.#speaks(connection)
        // The connection sees to it that the first message is a hello, and only the first.
        if (message.type === 'hello') session = this.#welcome(connection, message)
        else if (session === null) closeDescriptors(descriptors)
        else void session.handle(message, descriptors)
      },
      onClose: (error) => {
        this.#forget(connection)
        // A client that dies with unread events breaks its connection; only what it did wrong is worth telling.
        if (error !== null && error.code !== 'CONNECTION_CLOSED') this.#tellRefused(connection, error)
        if (session === null) return
        const client = session.describe()
        this.#sessions.delete(session)
        session.end()
        this.#tell({ type: 'detached', client })
      },
    })
    this.#connections.add(connection)
    this.#silent.set(connection, setTimeout(() => connection.close(), HELLO_TIMEOUT_MS).unref())
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

  #speaks(connection: CoordinatorConnection): void {
    clearTimeout(this.#silent.get(connection))
    this.#silent.delete(connection)
  }

  #forget(connection: CoordinatorConnection): void {
    this.#speaks(connection)
    this.#connections.delete(connection)
  }

  #welcome(connection: CoordinatorConnection, hello: Hello): Session | null {
    // Refused only now: an answer before the hello could reach the client as a broken pipe.
    const role = this.#roleOf(connection)
    const protocol = role instanceof Error ? role : agreeOnProtocol(hello)
    if (role instanceof Error || protocol instanceof Error) {
      this.#refuse(connection, (role instanceof Error ? role : protocol) as Error)
      return null
    }
    const mayPublish = role === 'publisher' ? null : this.#access.publishers
    const session = new Session(this.#nextId++, hello.name, connection, this.#host, mayPublish)
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
    this.#tellRefused(connection, error)
  }

  #tellRefused({ peer: { pid, uid } }: CoordinatorConnection, error: Error): void {
    this.#tell({ type: 'refused', error, pid, uid })
  }

  #roleOf({ peer }: CoordinatorConnection): Role | Error {
    const role = this.#access.roleOf(peer)
    if (role === null) {
      const message = `Process ${peer.pid} of user ${peer.uid}, group ${peer.gid} may not attach; allowed: ${this.#access}`
      return new CoordinatorError('CLIENT_REFUSED', message)
    }
    if (this.#sessions.size < this.#maxClients) return role
    return new CoordinatorError('CLIENT_REFUSED', `The coordinator has ${this.#maxClients} clients, the most it takes`)
  }
}
