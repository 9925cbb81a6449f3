import { setTimeout as sleep } from 'node:timers/promises'
import { Checkpoint, type CheckpointOrigin } from '@onecopy/checkpoint'
import type { CoordinatorStatus, Granted } from '@onecopy/protocol'
import { closeDescriptors, type FileMapping, mapDescriptor } from '@onecopy/sharedarraybuffer-utils'
import { checkReceived } from './check-received.ts'
import { Link } from './link.ts'

/** First pause before a reconnect, and the longest, in milliseconds; each try doubles it, and half of it is chance. */
const FIRST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 2000

/** What this process holds of a coordinator: a lease, and what is needed to get it again from another coordinator. */
interface Holding {
  readonly granted: Granted
  readonly checkpoint: Checkpoint
  readonly directory: FileMapping
  /** The lease's number with the present coordinator; null while there is none. */
  lease: number | null
  version: number
  /** The newest version that was announced. */
  latest: number
}

/** A process's attachment to one coordinator: one connection, which comes back by itself, and all checkpoints over it. */
export class CoordinatorClient {
  readonly socket: string
  readonly #name: string
  readonly #holdings = new Set<Holding>()
  #link: Promise<Link> | null = null
  #reconnecting = false

  constructor(socket: string, name: string) {
    this.socket = socket
    this.#name = name
  }

  /** Whether anything was attached through this client and not closed yet. */
  get inUse(): boolean {
    return this.#holdings.size > 0
  }

  /**
   * Attaches a checkpoint.
   * @throws CoordinatorError; ProtocolError; CheckpointError and SharedMemoryError when what came cannot be used
   */
  async attach(checkpoint: string, version: number | null, waitMs: number): Promise<Checkpoint> {
    const link = await this.#connected()
    const { message, descriptors } = await link.request({ type: 'acquire', checkpoint, version, waitMs })
    if (message.type !== 'granted') {
      closeDescriptors(descriptors)
      throw new TypeError(`The coordinator answered "${message.type}" to "acquire"`)
    }
    let holding: Holding | null = null
    const origin: CheckpointOrigin = {
      get version() {
        return holding?.version ?? message.version
      },
      release: () => holding !== null && this.#release(holding),
      latest: (current) => this.#latest(checkpoint, current),
    }
    try {
      holding = adopt(message, descriptors, origin)
    } catch (error) {
      void link.request({ type: 'release', lease: message.lease }).catch(() => {})
      throw error
    } finally {
      closeDescriptors(descriptors)
    }
    this.#holdings.add(holding)
    this.#settleReference()
    return holding.checkpoint
  }

  async publish(
    checkpoint: string,
    source: string | readonly string[],
    options: { backing: 'file' | 'sealed'; pinned: boolean; load: 'now' | 'on-demand'; priority: number },
  ): Promise<number> {
    const { message } = await this.#ask({ type: 'publish', checkpoint, source, ...options })
    return message.type === 'done' ? (message.result?.version ?? 0) : 0
  }

  async retire(checkpoint: string): Promise<void> {
    await this.#ask({ type: 'retire', checkpoint })
  }

  async status(): Promise<CoordinatorStatus> {
    const { message } = await this.#ask({ type: 'status' })
    if (message.type === 'status') return message.status
    throw new TypeError(`The coordinator answered "${message.type}" to "status"`)
  }

  /** Ends the connection; checkpoints that are attached stay readable, without a lease. */
  async close(): Promise<void> {
    this.#holdings.clear()
    const link = await this.#link?.catch(() => null)
    this.#link = null
    link?.close()
  }

  async #ask(request: Parameters<Link['request']>[0]): ReturnType<Link['request']> {
    const link = await this.#connected()
    // Whoever waits for an answer wants the process to live that long.
    link.setReferenced(true)
    try {
      return await link.request(request)
    } finally {
      this.#settleReference()
    }
  }

  #connected(): Promise<Link> {
    this.#link ??= this.#connect().catch((error) => {
      this.#link = null
      throw error
    })
    return this.#link
  }

  async #connect(): Promise<Link> {
    const link: Link = await Link.connect(this.socket, this.#name, {
      onEvent: (event) => {
        if (event.type === 'version') this.#announce(event.checkpoint, event.version)
      },
      onLost: () => this.#onLost(),
    })
    return link
  }

  /** The coordinator died or was stopped: readers go on, and the leases are sought again as soon as there is one. */
  #onLost(): void {
    this.#link = null
    for (const holding of this.#holdings) holding.lease = null
    if (!this.#reconnecting && this.#holdings.size > 0) void this.#reconnect()
  }

  async #reconnect(): Promise<void> {
    this.#reconnecting = true
    try {
      for (let pause = FIRST_PAUSE_MS; this.#holdings.size > 0; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
        // Not referenced: a process that has nothing else to do need not wait for a coordinator.
        await sleep(pause / 2 + (Math.random() * pause) / 2, undefined, { ref: false })
        const link = await this.#connected().catch(() => null)
        if (link === null) continue
        await Promise.all([...this.#holdings].map((holding) => this.#resume(link, holding)))
        this.#settleReference()
        return
      }
    } finally {
      this.#reconnecting = false
      // It may have died again meanwhile, when its loss could not start another round.
      if (this.#link === null && this.#holdings.size > 0) void this.#reconnect()
    }
  }

  /** Offers what is held to a new coordinator: sealed memory goes with it, so that nothing is read from disk again. */
  async #resume(link: Link, holding: Holding): Promise<void> {
    const { checkpoint, fingerprint, label, backing, shards } = holding.granted
    const descriptors = backing === 'sealed' ? [holding.directory.descriptor, ...holding.checkpoint.descriptors()] : []
    const offer = { checkpoint, version: holding.version, fingerprint, label, backing, shards }
    try {
      const { message } = await link.request({ type: 'resume', ...offer }, descriptors)
      if (message.type !== 'resumed') return
      holding.lease = message.lease
      holding.version = message.version
      if (!this.#holdings.has(holding)) this.#give(message.lease)
    } catch (error) {
      // The memory stays as it is; only the lease is missing, so that the coordinator does not count this reader.
      if (!link.lost) process.emitWarning(`onecopy: ${error instanceof Error ? error.message : error}`)
    }
  }

  #announce(name: string, version: number): void {
    for (const holding of this.#holdings) {
      // The coordinator says what is new; after a restart its numbers may be lower than the one held.
      if (holding.granted.checkpoint !== name || holding.version === version) continue
      holding.latest = version
      holding.checkpoint.emit('version', { checkpoint: name, version })
    }
  }

  async #latest(name: string, current: Checkpoint): Promise<Checkpoint> {
    const newest = await this.attach(name, null, 0)
    if (newest.version !== current.version) return newest
    newest.close()
    return current
  }

  #release(holding: Holding): void {
    if (!this.#holdings.delete(holding)) return
    holding.directory.close()
    if (holding.lease !== null) this.#give(holding.lease)
    this.#settleReference()
  }

  #give(lease: number): void {
    void this.#link?.then((link) => link.request({ type: 'release', lease })).catch(() => {})
  }

  /** An attached checkpoint alone does not keep a process alive, as an open file does not. */
  #settleReference(): void {
    void this.#link?.then((link) => link.lost || link.setReferenced(false)).catch(() => {})
  }
}

/** A checkpoint over the descriptors that came with a lease, after each of them was checked. */
function adopt(granted: Granted, descriptors: readonly number[], origin: CheckpointOrigin): Holding {
  checkReceived(granted, descriptors)
  const mapped: FileMapping[] = []
  try {
    const directory = mapDescriptor(descriptors[0]!, `directory of ${granted.label}`)
    mapped.push(directory)
    for (const [at, { name, byteLength }] of granted.shards.entries()) {
      mapped.push(mapDescriptor(descriptors[at + 1]!, name, { expectedByteLength: byteLength }))
    }
    const checkpoint = Checkpoint.adoptMappings(granted.label, directory, mapped.slice(1), origin)
    return { granted, checkpoint, directory, lease: granted.lease, version: granted.version, latest: granted.version }
  } catch (error) {
    for (const mapping of mapped) mapping.close()
    throw error
  }
}

/** One client for each socket of this process: further attachments use the same connection. */
const clients = new Map<string, CoordinatorClient>()

/** The client of this process for a socket. */
export function clientFor(socket: string, name: string): CoordinatorClient {
  const known = clients.get(socket)
  if (known !== undefined) return known
  const client = new CoordinatorClient(socket, name)
  clients.set(socket, client)
  return client
}
