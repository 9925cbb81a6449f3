import { setMaxListeners } from 'node:events'
import type { ArenaHold } from '@onecopy/checkpoint'
import {
  type Acquire,
  type ClientMessage,
  type ClientStatus,
  type CoordinatorConnection,
  CoordinatorError,
  type CoordinatorMessage,
  type CoordinatorStatus,
  fitStatus,
  MAX_FRAME_BYTES,
  type Resume,
  toWire,
} from '@onecopy/protocol'
import { closeDescriptors, type Descriptor, type FileMapping } from '@onecopy/sharedarraybuffer-utils'
import { gatherSelection, NO_ARENAS } from './gather-selection.ts'
import { takeArenasBack, takeBack } from './hand-back.ts'
import type { Ledger } from './ledger.ts'
import type { PublishOptions, Registry } from './registry.ts'
import type { Lease, Version } from './version.ts'

/** Requests of one client that may wait for their answers at a time; each has a timer while it waits. */
const MAX_REQUESTS = 1024

/** Leases of one client at a time; a program needs a few. */
const MAX_LEASES = 1024

/** Names that one client resumed in vain and wants to hear of, at a time. */
const MAX_MISSED = 1024

/** Text of selections whose answers one client waits for, in bytes: more than any program asks for at a time. */
const MAX_WAITING_BYTES = 8 * MAX_FRAME_BYTES

/** What a session asks of its coordinator. */
export interface SessionHost {
  readonly registry: Registry
  readonly ledger: Ledger
  /** How long a client that resumes may wait for its checkpoint to be published again. */
  readonly handBackMs: number
  readonly status: (options: { readonly residency?: boolean }) => Promise<CoordinatorStatus>
  readonly publish: (name: string, source: string | readonly string[], options: PublishOptions) => Promise<number>
}

/** A lease, and when its descriptors have gone out: the memory behind them must stay until then. */
interface Granting {
  readonly lease: Lease
  readonly arenas: ArenaHold
  readonly sent: Promise<void>
}

/** One connected client: what it asked for and what it holds. It ends with its connection, and its leases with it. */
export class Session {
  readonly id: number
  readonly name: string
  readonly since: Date = new Date()
  readonly #connection: CoordinatorConnection
  readonly #host: SessionHost
  /** Null for one who may. */
  readonly #publishers: string | null
  readonly #leases = new Map<number, Granting>()
  /** How many leases it has on each name: it hears of these. */
  readonly #leased = new Map<string, number>()
  /** Names that it could not resume, and hears of as well, until it has a lease on them. */
  readonly #missed = new Set<string>()
  readonly #end = new AbortController()
  #requests = 0
  #selectionBytes = 0
  /** The end of what is gathered for this client: one at a time, so that it is never far ahead of others in the queue. */
  #gathered: Promise<unknown> = Promise.resolve()

  /** @param publishers who may publish, for telling a client that may not; null when it may */
  constructor(
    id: number,
    name: string,
    connection: CoordinatorConnection,
    host: SessionHost,
    publishers: string | null,
  ) {
    this.id = id
    this.#publishers = publishers
    this.name = name
    this.#connection = connection
    this.#host = host
    // As many as requests may wait.
    setMaxListeners(MAX_REQUESTS, this.#end.signal)
  }

  /** Answers one request; failures are answers too. */
  async handle(message: ClientMessage, descriptors: readonly Descriptor[]): Promise<void> {
    this.#requests++
    try {
      if (this.#requests > MAX_REQUESTS) {
        const text = `The client waits for ${MAX_REQUESTS} answers already, the most that one connection may`
        throw new CoordinatorError('CLIENT_REFUSED', text)
      }
      const leasing = message.type === 'acquire' || message.type === 'resume'
      if (leasing && this.#leases.size + this.#requests > MAX_LEASES) {
        const text = `The client has ${this.#leases.size} leases and asks for more; one connection may have ${MAX_LEASES}`
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
    if (!this.#follows(version.checkpoint)) return
    const { checkpoint, number, fingerprint } = version
    this.#send({ type: 'version', checkpoint, version: number, fingerprint })
  }

  announceRetired(checkpoint: string): void {
    if (this.#follows(checkpoint)) this.#send({ type: 'retired', checkpoint })
  }

  /** Resolves when the words have gone out, or never will. */
  sayGoodbye(reason: string): Promise<void> {
    return new Promise((resolve) => this.#connection.send({ type: 'closing', reason }, [], resolve))
  }

  /** Frees everything that the client held; its connection is closed, so nothing is being sent any more. */
  end(): void {
    this.#end.abort()
    for (const granting of this.#leases.values()) this.#giveUp(granting)
    this.#leases.clear()
  }

  describe(): ClientStatus {
    const byVersion = new Map<Version, { lease: number; checkpoint: string; version: number; count: number }>()
    for (const { lease } of this.#leases.values()) {
      const { checkpoint, number } = lease.version
      const known = byVersion.get(lease.version)
      if (known !== undefined) known.count++
      else byVersion.set(lease.version, { lease: lease.id, checkpoint, version: number, count: 1 })
    }
    const leases = [...byVersion.values()]
    const { pid, uid, gid } = this.#connection.peer
    return { id: this.id, pid, uid, gid, name: this.name, since: this.since.toISOString(), leases }
  }

  async #dispatch(message: ClientMessage, descriptors: readonly Descriptor[]): Promise<void> {
    const { registry } = this.#host
    switch (message.type) {
      case 'acquire':
        return this.#acquire(message)
      case 'resume':
        return this.#resume(message, descriptors)
      case 'release': {
        const granting = this.#leases.get(message.lease)
        if (granting !== undefined) {
          this.#forget(granting)
          await granting.sent
          this.#giveUp(granting)
        }
        return this.#send({ type: 'done', id: message.id, result: null })
      }
      case 'publish': {
        this.#assertMayPublish('publish')
        const { checkpoint, source, backing, pinned, load, priority } = message
        const { signal } = this.#end
        const version = await this.#host.publish(checkpoint, source, { backing, pinned, load, priority, signal })
        return this.#send({ type: 'done', id: message.id, result: { version } })
      }
      case 'retire':
        this.#assertMayPublish('retire')
        registry.retire(message.checkpoint)
        return this.#send({ type: 'done', id: message.id, result: null })
      case 'status': {
        const { id, residency = false } = message
        return this.#send({ type: 'status', id, status: fitStatus(await this.#host.status({ residency })) })
      }
    }
  }

  async #acquire(message: Acquire): Promise<void> {
    const { checkpoint: name, version: number, waitMs, selection } = message
    const { registry } = this.#host
    const { signal } = this.#end
    const byteLength = selection === null ? 0 : Buffer.byteLength(selection)
    if (this.#selectionBytes + byteLength > MAX_WAITING_BYTES) {
      const text = `The client waits for selections of ${this.#selectionBytes} bytes already; at most ${MAX_WAITING_BYTES} may wait`
      throw new CoordinatorError('CLIENT_REFUSED', text)
    }
    this.#selectionBytes += byteLength
    try {
      const lease = await registry.until(name, () => registry.acquire(name, number, signal), waitMs, signal)
      await this.#acquireWith(lease, message)
    } finally {
      this.#selectionBytes -= byteLength
    }
  }

  async #acquireWith(lease: Lease, { id, checkpoint: name, selection }: Acquire): Promise<void> {
    const { registry } = this.#host
    const { signal } = this.#end
    const { version } = lease
    let arenas: ArenaHold = NO_ARENAS
    try {
      if (selection !== null) {
        const gathering = this.#gathered.then(() => gatherSelection(version, selection, registry.budget, signal))
        this.#gathered = gathering.catch(() => {})
        arenas = await gathering
      }
      // The client may be gone by now; then nobody would ever give this lease back.
      signal.throwIfAborted()
      this.#grant(id, lease, arenas)
    } catch (error) {
      this.#giveUp({ lease, arenas })
      throw error
    }
    const current = registry.entry(name)?.current
    if (current != null && current !== version) this.announce(current)
  }

  #assertMayPublish(verb: string): void {
    if (this.#publishers === null) return
    const { pid, uid } = this.#connection.peer
    const message = `Process ${pid} of user ${uid} may read and not ${verb}; that may: ${this.#publishers} (--publishers, --publisher-group)`
    throw new CoordinatorError('PERMISSION_DENIED', message)
  }

  #giveUp({ lease, arenas }: Pick<Granting, 'lease' | 'arenas'>): void {
    // In this order: what the lease frees is counted without the arenas.
    arenas.release()
    this.#host.registry.release(lease)
    this.#host.ledger.review()
  }

  #grant(id: number, lease: Lease, arenas: ArenaHold): void {
    const { version } = lease
    const { checkpoint, directory } = version.memory!
    const gathered = arenas.arenas.map(({ memory }) => memory as FileMapping)
    const message: CoordinatorMessage = {
      type: 'granted',
      id,
      lease: lease.id,
      checkpoint: version.checkpoint,
      version: version.number,
      fingerprint: version.fingerprint,
      label: checkpoint.label,
      backing: checkpoint.backing === 'sealed' ? 'sealed' : 'file',
      shards: checkpoint.shards.map(({ name, byteLength }) => ({ name, byteLength })),
      arenas: gathered.map(({ byteLength }, at) => ({ name: `arena ${at + 1}`, byteLength })),
    }
    let onSent = (): void => {}
    const sent = new Promise<void>((resolve) => {
      onSent = resolve
    })
    const descriptors = [directory, ...gathered].map(({ descriptor }) => descriptor)
    descriptors.splice(1, 0, ...checkpoint.descriptors())
    this.#host.ledger.note(version, arenas)
    this.#connection.send(message, descriptors, onSent)
    this.#remember({ lease, arenas, sent })
  }

  /** A client that was attached before this coordinator began: it keeps what it has, and hands sealed memory back. */
  async #resume(message: Resume, descriptors: readonly Descriptor[]): Promise<void> {
    const { registry } = this.#host
    const { id, checkpoint: name, fingerprint, arenas } = message
    const ofArenas = descriptors.slice(descriptors.length - arenas.length)
    // Whatever becomes of the lease, this client reads that checkpoint, and wants to hear of its versions.
    this.#miss(name)
    try {
      const lease = await this.#leaseAgain(message, descriptors.slice(0, descriptors.length - arenas.length))
      const { version } = lease
      let held: ArenaHold = NO_ARENAS
      try {
        // Arenas belong to a checkpoint that is loaded; anybody else who resumes has its memory already.
        const loads = arenas.length > 0 && version.memory === null && !this.#ended
        if (loads) registry.release(await registry.acquire(name, version.number))
        this.#end.signal.throwIfAborted()
        held = takeArenasBack(version, this.#host.ledger, message, ofArenas)
      } catch (error) {
        this.#giveUp({ lease, arenas: held })
        throw error
      }
      this.#remember({ lease, arenas: held, sent: Promise.resolve() })
      this.#host.ledger.note(version, held)
      this.#send({ type: 'resumed', id, lease: lease.id, version: version.number })
    } finally {
      const current = registry.entry(name)?.current
      if (current != null && current.fingerprint !== fingerprint) this.announce(current)
    }
  }

  /**
   * A lease on what a client has; taken at once, so that nobody gives the version up meanwhile.
   * @param descriptors the directory and the shards, where the client hands them back
   */
  async #leaseAgain(message: Resume, descriptors: readonly Descriptor[]): Promise<Lease> {
    const { registry, ledger, handBackMs } = this.#host
    const { checkpoint: name, fingerprint } = message
    // One whose memory was given up will do for a client that reads the files and has nothing to hand back.
    const find = (): Version | undefined =>
      registry.entry(name)?.versions.find((known) => {
        const usable = known.memory !== null || (descriptors.length === 0 && known.state === 'unloaded')
        return known.fingerprint === fingerprint && usable
      })
    if (descriptors.length > 0) {
      try {
        return registry.lease(takeBack(registry, ledger, message, descriptors))
      } catch (error) {
        // Memory that nobody knows is left to its client, which wants to hear of the version all the same.
        const known = find()
        if (known === undefined) throw error
        return registry.lease(known)
      }
    }
    const resume = (): Lease => {
      const published = find()
      if (published !== undefined) return registry.lease(published)
      const reason = 'this coordinator has published no such version, and no memory was handed back'
      throw new CoordinatorError('RESUME_REFUSED', `Checkpoint "${name}" is not resumed: ${reason}`, {
        checkpoint: name,
      })
    }
    return registry.until(name, resume, handBackMs, this.#end.signal)
  }

  #follows(name: string): boolean {
    return this.#leased.has(name) || this.#missed.has(name)
  }

  #miss(name: string): void {
    if (!this.#missed.has(name) && this.#missed.size >= MAX_MISSED) {
      const text = `The client resumes more than ${MAX_MISSED} checkpoints, the most that one connection may miss`
      throw new CoordinatorError('CLIENT_REFUSED', text)
    }
    this.#missed.add(name)
  }

  #remember(granting: Granting): void {
    const { checkpoint } = granting.lease.version
    this.#leases.set(granting.lease.id, granting)
    this.#leased.set(checkpoint, (this.#leased.get(checkpoint) ?? 0) + 1)
    this.#missed.delete(checkpoint)
  }

  #forget({ lease }: Granting): void {
    const { checkpoint } = lease.version
    this.#leases.delete(lease.id)
    const left = this.#leased.get(checkpoint)! - 1
    if (left > 0) this.#leased.set(checkpoint, left)
    else this.#leased.delete(checkpoint)
  }

  get #ended(): boolean {
    return this.#end.signal.aborted
  }

  #send(message: CoordinatorMessage): void {
    if (!this.#ended) this.#connection.send(message)
  }
}
