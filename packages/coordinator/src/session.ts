import {
  type Acquire,
  type ClientMessage,
  type ClientStatus,
  type CoordinatorConnection,
  CoordinatorError,
  type CoordinatorMessage,
  type CoordinatorStatus,
  type Resume,
  toWire,
} from '@onecopy/protocol'
import { closeDescriptors } from '@onecopy/sharedarraybuffer-utils'
import { takeBack } from './hand-back.ts'
import { type Registry, waitForEvent } from './registry.ts'
import type { Lease, Version } from './version.ts'

/** Requests of one client that may wait for their answers at a time; each has a timer and a listener while it waits. */
const MAX_REQUESTS = 256

/** What a session asks of its coordinator. */
export interface SessionHost {
  readonly registry: Registry
  /** How long a client that resumes may wait for its checkpoint to be published again. */
  readonly handBackMs: number
  readonly status: () => Promise<CoordinatorStatus>
}

/** One connected client: what it asked for and what it holds. It ends with its connection, and its leases with it. */
export class Session {
  readonly id: number
  readonly name: string
  readonly since: Date = new Date()
  readonly #connection: CoordinatorConnection
  readonly #host: SessionHost
  readonly #leases = new Map<number, Lease>()
  /** Names whose news this client wants: those it ever had a lease on. */
  readonly #follows = new Set<string>()
  #requests = 0
  #ended = false

  constructor(id: number, name: string, connection: CoordinatorConnection, host: SessionHost) {
    this.id = id
    this.name = name
    this.#connection = connection
    this.#host = host
  }

  /** Answers one request; failures are answers too. */
  async handle(message: ClientMessage, descriptors: readonly number[]): Promise<void> {
    this.#requests++
    try {
      if (this.#requests > MAX_REQUESTS) {
        const text = `The client waits for ${MAX_REQUESTS} answers already, the most that one connection may`
        throw new CoordinatorError('CLIENT_REFUSED', text)
      }
      await this.#dispatch(message, descriptors)
    } catch (error) {
      if ('id' in message) this.#send({ type: 'error', id: message.id, error: toWire(error) })
    } finally {
      this.#requests--
      closeDescriptors(descriptors)
    }
  }

  /** Tells the client of a new version, if it follows that checkpoint. */
  announce(version: Version): void {
    if (!this.#follows.has(version.checkpoint)) return
    const { checkpoint, number, fingerprint } = version
    this.#send({ type: 'version', checkpoint, version: number, fingerprint })
  }

  announceRetired(checkpoint: string): void {
    if (this.#follows.has(checkpoint)) this.#send({ type: 'retired', checkpoint })
  }

  /** Resolves when the words have gone out, or never will. */
  sayGoodbye(reason: string): Promise<void> {
    return new Promise((resolve) => this.#connection.send({ type: 'closing', reason }, [], resolve))
  }

  /** Frees everything that the client held. */
  end(): void {
    this.#ended = true
    for (const lease of this.#leases.values()) this.#host.registry.release(lease)
    this.#leases.clear()
  }

  describe(): ClientStatus {
    const leases = [...this.#leases.values()].map(({ id, version }) => ({
      lease: id,
      checkpoint: version.checkpoint,
      version: version.number,
    }))
    return { id: this.id, ...this.#connection.peer, name: this.name, since: this.since.toISOString(), leases }
  }

  async #dispatch(message: ClientMessage, descriptors: readonly number[]): Promise<void> {
    const { registry } = this.#host
    switch (message.type) {
      case 'acquire':
        return this.#acquire(message)
      case 'resume':
        return this.#resume(message, descriptors)
      case 'release': {
        const lease = this.#leases.get(message.lease)
        this.#leases.delete(message.lease)
        if (lease !== undefined) registry.release(lease)
        return this.#send({ type: 'done', id: message.id, result: null })
      }
      case 'publish': {
        const { checkpoint, source, backing, pinned, load, priority } = message
        const version = await registry.publish(checkpoint, source, { backing, pinned, load, priority })
        return this.#send({ type: 'done', id: message.id, result: { version: version.number } })
      }
      case 'retire':
        registry.retire(message.checkpoint)
        return this.#send({ type: 'done', id: message.id, result: null })
      case 'status':
        return this.#send({ type: 'status', id: message.id, status: await this.#host.status() })
    }
  }

  async #acquire({ id, checkpoint: name, version: number, waitMs }: Acquire): Promise<void> {
    const { registry } = this.#host
    const lease = await this.#waiting(waitMs, () => registry.acquire(name, number))
    // The client may be gone by now; then nobody would ever give this lease back.
    if (this.#ended) return registry.release(lease)
    this.#leases.set(lease.id, lease)
    this.#follows.add(name)
    const { version } = lease
    const { checkpoint, directory } = version.memory!
    this.#send(
      {
        type: 'granted',
        id,
        lease: lease.id,
        checkpoint: name,
        version: version.number,
        fingerprint: version.fingerprint,
        label: checkpoint.label,
        backing: checkpoint.backing === 'sealed' ? 'sealed' : 'file',
        shards: checkpoint.shards.map(({ name: shard, byteLength }) => ({ name: shard, byteLength })),
      },
      [directory.descriptor, ...checkpoint.descriptors()],
    )
  }

  /** A client that was attached before this coordinator began: it keeps what it has, and hands sealed memory back. */
  async #resume(message: Resume, descriptors: readonly number[]): Promise<void> {
    const { registry, handBackMs } = this.#host
    const { id, checkpoint: name, version: number, fingerprint } = message
    const find = (): Version | undefined =>
      registry.entry(name)?.versions.find((known) => known.fingerprint === fingerprint && known.memory !== null)
    let version = find()
    if (version === undefined && descriptors.length > 0) {
      const memory = takeBack(message, descriptors)
      const heldBytes = message.shards.reduce((sum, { byteLength }) => sum + byteLength, 0)
      version = registry.recover(name, number, fingerprint, memory, heldBytes)
    }
    version ??= await this.#waiting(handBackMs, async () => {
      const known = find()
      if (known !== undefined) return known
      const reason = 'this coordinator has published no such version, and no memory was handed back'
      throw new CoordinatorError('RESUME_REFUSED', `Checkpoint "${name}" is not resumed: ${reason}`, {
        checkpoint: name,
      })
    })
    if (this.#ended) return
    const lease = registry.lease(version)
    this.#leases.set(lease.id, lease)
    this.#follows.add(name)
    this.#send({ type: 'resumed', id, lease: lease.id, version: version.number })
    const current = registry.entry(name)?.current
    if (current != null && current !== version) this.announce(current)
  }

  /** Tries again whenever something happened, as long as the answer may still change and the time is not up. */
  async #waiting<Result>(waitMs: number, attempt: () => Promise<Result>): Promise<Result> {
    const deadline = Date.now() + waitMs
    for (;;) {
      try {
        return await attempt()
      } catch (error) {
        const left = deadline - Date.now()
        const mayChange =
          error instanceof CoordinatorError &&
          ['CHECKPOINT_UNKNOWN', 'VERSION_UNKNOWN', 'VERSION_NOT_READY', 'RESUME_REFUSED'].includes(error.code)
        if (!mayChange || left <= 0 || this.#ended) throw error
        await waitForEvent(this.#host.registry, left)
      }
    }
  }

  #send(message: CoordinatorMessage, descriptors: readonly number[] = []): void {
    if (!this.#ended) this.#connection.send(message, descriptors)
  }
}
