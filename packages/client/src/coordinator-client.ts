import { setTimeout as sleep } from 'node:timers/promises'
import {
  Checkpoint,
  type CheckpointOrigin,
  type FollowOptions,
  loadSelecting,
  type Selection,
} from '@onecopy/checkpoint/adopt'
import { CoordinatorError, type CoordinatorStatus, type Granted, unlessAborted, type Welcome } from '@onecopy/protocol'
import { closeDescriptors, type Descriptor } from '@onecopy/sharedarraybuffer-utils/descriptors'
import { adoptFileMapping, type FileMapping, mapDescriptor } from '@onecopy/sharedarraybuffer-utils/mapped'
import { checkReceived } from './check-received.ts'
import { type Answer, Link, type Request } from './link.ts'
import { type Patience, withinLimit } from './patience.ts'
import { selectionText } from './selection-text.ts'

/** First pause before a reconnect, and the longest, in milliseconds; each try doubles it, and half of it is chance. */
const FIRST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 2000

/** How long a coordinator that has restarted may take to publish what it had before, in milliseconds. */
const RESTART_MS = 30_000

/** Of a timer that only keeps the process alive, in milliseconds. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

/** What this process holds of a coordinator: a lease, and what is needed to get it again from another coordinator. */
interface Holding {
  readonly granted: Granted
  /** What the user has: the whole, or the part that was asked for. Weak: one that is dropped without being closed goes. */
  readonly checkpoint: WeakRef<Checkpoint>
  /** What a new coordinator is offered. */
  readonly shards: readonly FileMapping[]
  readonly directory: FileMapping
  readonly arenas: readonly FileMapping[]
  /** The lease's number with the present coordinator; null while there is none. */
  lease: number | null
  version: number
}

/** What somebody wants to attach; see `AttachOptions`. */
export interface Wanted {
  readonly checkpoint: string
  readonly version: number | null
  readonly waitMs: number
  readonly selection: Selection | null
}

/** Gives back what belongs to a checkpoint that nobody reaches any more. */
const dropped = new FinalizationRegistry<() => void>((release) => release())

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
   * Attaches a checkpoint. While the time to wait is not up, a coordinator that is not there is waited for too.
   * @throws CoordinatorError; ProtocolError; CheckpointError and SharedMemoryError when what came cannot be used; the signal's
   * reason
   */
  async attach(wanted: Wanted, { signal, timeoutMs }: Patience = {}): Promise<Checkpoint> {
    const limit = timeoutMs === undefined ? {} : { timeoutMs: wanted.waitMs + timeoutMs }
    return withinLimit(`attach "${wanted.checkpoint}"`, { ...limit, ...(signal && { signal }) }, async (stop) => {
      const held = await whenThere(wanted.waitMs, stop, (leftMs) => this.#acquire({ ...wanted, waitMs: leftMs }, stop))
      return held.checkpoint
    })
  }

  async #acquire(asked: Wanted, signal: AbortSignal): Promise<{ holding: Holding; checkpoint: Checkpoint }> {
    const selection = asked.selection === null ? null : selectionText(asked.selection)
    // What the coordinator reads, whatever becomes of the caller's object.
    const wanted: Wanted = { ...asked, selection: selection === null ? null : JSON.parse(selection) }
    // Before asking: news that follow the answer must find the holding there.
    if (selection !== null) await loadSelecting()
    const { link, message, descriptors } = await this.#ask({ type: 'acquire', ...wanted, selection }, signal)
    if (message.type !== 'granted') {
      closeDescriptors(descriptors)
      throw new TypeError(`The coordinator answered "${message.type}" to "acquire"`)
    }
    let adopted: Adopted | null = null
    let holding: Holding | null = null
    const origin: CheckpointOrigin = {
      get version() {
        return holding?.version ?? message.version
      },
      release: () => holding !== null && this.#release(holding),
      latest: (current, options) =>
        holding === null ? Promise.resolve(current) : this.#latest(wanted, holding, current, options),
      // A part of a part is made here: the coordinator knows the whole only.
      ...(wanted.selection === null && {
        select: (part: Selection, options: FollowOptions) => this.#select(wanted, holding, part, options),
      }),
    }
    try {
      adopted = adopt(message, descriptors, wanted.selection, origin)
    } catch (error) {
      link.giveBack(message.lease)
      throw error
    } finally {
      closeDescriptors(descriptors)
    }
    const { checkpoint, ...held } = adopted
    const { lease, version } = message
    const own = { ...held, granted: message, checkpoint: new WeakRef(checkpoint), lease, version }
    holding = own
    this.#holdings.add(own)
    dropped.register(checkpoint, () => this.#release(own), own)
    if (link.lost) this.#seekLeases([own])
    return { holding: own, checkpoint }
  }

  async publish(
    checkpoint: string,
    source: string | readonly string[],
    options: { backing: 'file' | 'sealed'; pinned: boolean; load: 'now' | 'on-demand'; priority: number },
    signal: AbortSignal,
  ): Promise<number> {
    const { message } = await this.#ask({ type: 'publish', checkpoint, source, ...options }, signal)
    return message.type === 'done' ? (message.result?.version ?? 0) : 0
  }

  async retire(checkpoint: string, signal: AbortSignal): Promise<void> {
    await this.#ask({ type: 'retire', checkpoint }, signal)
  }

  /** What the coordinator said to this client's hello. */
  async welcome(signal: AbortSignal): Promise<Welcome> {
    return keepAlive(async () => (await unlessAborted(this.#connected(), signal)).welcome)
  }

  async status(residency: boolean, signal: AbortSignal): Promise<CoordinatorStatus> {
    const { message } = await this.#ask({ type: 'status', residency }, signal)
    if (message.type === 'status') return message.status
    throw new TypeError(`The coordinator answered "${message.type}" to "status"`)
  }

  /** Ends the connection; checkpoints that are attached stay readable, without a lease. */
  close(): void {
    this.#holdings.clear()
    // One that is still connecting is not waited for.
    void this.#link?.then((link) => link.close()).catch(() => {})
    this.#link = null
  }

  #ask(request: Request, signal: AbortSignal): Promise<Answer & { readonly link: Link }> {
    return keepAlive(async () => {
      const link = await unlessAborted(this.#connected(), signal)
      return { link, ...(await link.request(request, { signal })) }
    })
  }

  #connected(): Promise<Link> {
    if (this.#link !== null) return this.#link
    const link: Promise<Link> = Link.connect(this.socket, this.#name, {
      onEvent: (event) => {
        if (event.type === 'version') this.#announce(event.checkpoint, event.version, event.fingerprint)
      },
      onLost: () => this.#onLost(link),
    })
    this.#link = link
    link.catch(() => this.#forget(link))
    return link
  }

  #forget(link: Promise<Link>): void {
    if (this.#link === link) this.#link = null
  }

  /** The coordinator died or was stopped: readers go on. Leases over a link that has taken its place already stay. */
  #onLost(link: Promise<Link>): void {
    if (this.#link !== link) return
    this.#link = null
    this.#seekLeases(this.#holdings)
  }

  /** What was attached is attached again as soon as there is a coordinator. */
  #seekLeases(holdings: Iterable<Holding>): void {
    for (const holding of holdings) holding.lease = null
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
        // Others may have been attached over this link already.
        const without = [...this.#holdings].filter(({ lease }) => lease === null)
        await Promise.all(without.map((holding) => this.#resume(link, holding)))
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
    const { checkpoint, fingerprint, label, backing, shards, arenas } = holding.granted
    const offer = { checkpoint, version: holding.version, fingerprint, label, backing, shards, arenas }
    let kept: Kept | null = null
    try {
      kept = keep(holding)
      const { message } = await link.request(
        { type: 'resume', ...offer },
        { descriptors: kept.descriptors, patient: true },
      )
      if (message.type !== 'resumed') return
      const { lease, version } = message
      if (link.lost) return
      if (!this.#holdings.has(holding) || holding.lease !== null) return link.giveBack(lease)
      holding.lease = lease
      holding.version = version
    } catch (error) {
      // The memory stays as it is; only the lease is missing, so that the coordinator does not count this reader.
      if (!link.lost) process.emitWarning(`onecopy: ${error instanceof Error ? error.message : error}`)
    } finally {
      kept?.close()
    }
  }

  #announce(name: string, version: number, fingerprint: string): void {
    for (const holding of [...this.#holdings]) {
      if (holding.granted.checkpoint !== name) continue
      // What is held was published after the coordinator had given up waiting for it.
      if (holding.lease === null && holding.granted.fingerprint === fingerprint) void this.#resumeLater(holding)
      // The coordinator says what is new; after a restart its numbers may be lower than the one held, or the same.
      else if (holding.version !== version || holding.granted.fingerprint !== fingerprint)
        holding.checkpoint.deref()?.emit('version', { checkpoint: name, version })
    }
  }

  async #resumeLater(holding: Holding): Promise<void> {
    const link = await this.#link?.catch(() => null)
    const wanted = holding.lease === null && this.#holdings.has(holding) && !this.#reconnecting
    if (link != null && wanted) await this.#resume(link, holding)
  }

  /** Null while there is no coordinator, and when it ends before it has answered: then the part is made in this process. */
  async #select(
    wanted: Wanted,
    holding: Holding | null,
    selection: Selection,
    { signal, timeoutMs }: FollowOptions,
  ): Promise<Checkpoint | null> {
    if (holding === null || holding.lease === null) return null
    const patience = { ...(signal && { signal }), ...(timeoutMs !== undefined && { timeoutMs }) }
    try {
      return await this.attach({ ...wanted, version: holding.version, waitMs: 0, selection }, patience)
    } catch (error) {
      if (hasCode(error, ['COORDINATOR_UNREACHABLE'])) return null
      throw error
    }
  }

  async #latest(wanted: Wanted, holding: Holding, current: Checkpoint, options: FollowOptions): Promise<Checkpoint> {
    return withinLimit(`follow "${wanted.checkpoint}"`, options, async (stop) => {
      try {
        const newest = await whenThere(options.timeoutMs ?? RESTART_MS, stop, (leftMs) => {
          // Without a lease, the coordinator has restarted: what it had before is still to be published.
          const waitMs = holding.lease === null ? leftMs : 0
          return this.#acquire({ ...wanted, version: null, waitMs }, stop)
        })
        const { version, granted } = newest.holding
        const same = version === holding.version && granted.fingerprint === holding.granted.fingerprint
        if (!same) return newest.checkpoint
        newest.checkpoint.close()
        return current
      } catch (error) {
        // It was retired while this process holds it: there is nothing newer.
        if (holding.lease !== null && hasCode(error, ['CHECKPOINT_UNKNOWN', 'VERSION_NOT_READY'])) return current
        throw error
      }
    })
  }

  #release(holding: Holding): void {
    dropped.unregister(holding)
    const { lease, shards, directory, arenas } = holding
    for (const mapping of [directory, ...shards, ...arenas]) mapping.close()
    if (this.#holdings.delete(holding) && lease !== null)
      void this.#link?.then((link) => link.giveBack(lease)).catch(() => {})
  }
}

/** Whoever waits for an answer wants the process to live that long. */
async function keepAlive<Result>(work: () => Promise<Result>): Promise<Result> {
  const timer = setInterval(() => {}, LONGEST_TIMER_MS)
  try {
    return await work()
  } finally {
    clearInterval(timer)
  }
}

/** Tries again as long as there is no coordinator and the time is not up. */
async function whenThere<Result>(
  waitMs: number,
  signal: AbortSignal,
  attempt: (leftMs: number) => Promise<Result>,
): Promise<Result> {
  const deadline = performance.now() + waitMs
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
    try {
      return await attempt(Math.max(0, Math.ceil(deadline - performance.now())))
    } catch (error) {
      const leftMs = deadline - performance.now()
      if (leftMs <= 0 || !isAway(error)) throw error
      await unlessAborted(sleep(Math.min(pause, leftMs)), signal)
    }
  }
}

/** Whether the coordinator is not there, and may come. */
function isAway(error: unknown): boolean {
  const forbidden = ((error as Error).cause as { errnoName?: string } | undefined)?.errnoName === 'EACCES'
  return !forbidden && hasCode(error, ['COORDINATOR_UNREACHABLE', 'COORDINATOR_CLOSING'])
}

function hasCode(error: unknown, codes: readonly string[]): boolean {
  return error instanceof CoordinatorError && codes.includes(error.code)
}

/** The descriptors of a holding, which stay open until `close`, whatever becomes of the holding meanwhile. */
interface Kept {
  readonly descriptors: readonly Descriptor[]
  close(): void
}

function keep({ granted, shards, directory, arenas }: Holding): Kept {
  const offered = granted.backing === 'sealed' ? [directory, ...shards, ...arenas] : arenas
  const mappings = offered.map((mapping) => adoptFileMapping(mapping.share()))
  return {
    descriptors: mappings.map(({ descriptor }) => descriptor),
    close: () => {
      for (const mapping of mappings) mapping.close()
    },
  }
}

/** What came with a lease, mapped: the user's checkpoint, and what is offered to a new coordinator. */
interface Adopted extends Pick<Holding, 'shards' | 'directory' | 'arenas'> {
  readonly checkpoint: Checkpoint
}

/** A checkpoint over the descriptors that came with a lease, after each of them was checked. */
function adopt(
  granted: Granted,
  descriptors: readonly Descriptor[],
  selection: Selection | null,
  origin: CheckpointOrigin,
): Adopted {
  checkReceived(granted, descriptors)
  const mapped: FileMapping[] = []
  try {
    const directory = mapDescriptor(descriptors[0]!, `directory of ${granted.label}`)
    mapped.push(directory)
    for (const [at, { name, byteLength }] of [...granted.shards, ...granted.arenas].entries()) {
      mapped.push(mapDescriptor(descriptors[at + 1]!, name, { expectedByteLength: byteLength }))
    }
    const shards = mapped.slice(1, 1 + granted.shards.length)
    const arenas = mapped.slice(1 + granted.shards.length)
    const whole = Checkpoint.adoptMappings(granted.label, directory, shards, selection === null ? origin : null)
    const checkpoint = selection === null ? whole : whole.selectWith(selection, arenas, origin)
    return { checkpoint, shards, directory, arenas }
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
