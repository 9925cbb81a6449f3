import { EventEmitter, once, setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { CoordinatorError, MAX_WAIT_MS } from '@onecopy/protocol'
import PQueue from 'p-queue'
import { Budget } from './budget.ts'
import { inspectSource, loadSource, type PublishedBacking } from './load-version.ts'
import { type Lease, type LoadedMemory, Version } from './version.ts'

/** Loads at a time: each reads with several threads already. */
const LOADS_AT_A_TIME = 1

/** Highest version number that is taken from a client; whatever comes after it must stay exact. */
const MAX_CLIENTS_NUMBER = 2 ** 48

/** A checkpoint's name: what people type, and what goes into messages and file names without quoting. */
const NAME = /^[\p{L}\p{N}][\p{L}\p{N}._/-]{0,199}$/u

/** Options of `publish`. */
export interface PublishOptions {
  /** `file` shares the page cache; `sealed` copies into memory that no one can change, cut or evict. @default `file` */
  readonly backing?: PublishedBacking
  /** Never given up for want of room; with `file` backing also locked in RAM. @default false */
  readonly pinned?: boolean
  /** `now` loads before it resolves; `on-demand` only validates, and loads when somebody asks. @default `now` */
  readonly load?: 'now' | 'on-demand'
  /** Loads with a higher priority go first. @default 0 */
  readonly priority?: number
}

/** A named checkpoint: its source and its versions, the newest last. */
export interface Entry {
  readonly name: string
  source: string | readonly string[]
  backing: PublishedBacking
  pinned: boolean
  priority: number
  readonly versions: Version[]
  /** What `acquire` hands out; null once retired, and before the first version is ready. */
  current: Version | null
  /** Which publish made it current; they are counted as they begin. */
  currentTurn: number
  nextNumber: number
}

/** What the registry tells. */
export type RegistryEvent =
  | { readonly type: 'published'; readonly version: Version }
  | { readonly type: 'loaded'; readonly version: Version }
  | { readonly type: 'evicted'; readonly version: Version }
  | { readonly type: 'released'; readonly version: Version }
  | { readonly type: 'recovered'; readonly version: Version }
  | { readonly type: 'retired'; readonly checkpoint: string }

/** All checkpoints of a coordinator: names, versions, leases and the memory behind them. */
export class Registry extends EventEmitter<{ event: [RegistryEvent] }> {
  readonly budget: Budget
  readonly #entries = new Map<string, Entry>()
  readonly #loads = new PQueue({ concurrency: LOADS_AT_A_TIME })
  readonly #loading = new Map<Version, Promise<void>>()
  readonly #stop = new AbortController()
  #nextLease = 1
  #nextTurn = 1
  #clock = 0
  #changes = 0

  /** @param budgetBytes of sealed and locked memory; null is no limit */
  constructor(budgetBytes: number | null) {
    super()
    // Everyone who waits listens.
    this.setMaxListeners(0)
    setMaxListeners(0, this.#stop.signal)
    this.on('event', () => this.#changes++)
    this.budget = new Budget(budgetBytes, {
      all: () => this.versions(),
      pinned: (version) => this.#entries.get(version.checkpoint)?.pinned === true && version.state === 'ready',
      evict: (version) => this.#evict(version),
    })
  }

  get entries(): Iterable<Entry> {
    return this.#entries.values()
  }

  *versions(): Generator<Version, void> {
    for (const entry of this.#entries.values()) yield* entry.versions
  }

  entry(name: string): Entry | undefined {
    return this.#entries.get(name)
  }

  /** Rises with every event, so that who looks, finds nothing and then waits misses none. */
  get changes(): number {
    return this.#changes
  }

  /**
   * Opens and validates a new version while the old one serves, then flips. Memory with the same fingerprint that is here
   * already, because a client handed it back or still holds that version, is taken instead of reading.
   * @param handBackMs how long to wait for such memory
   * @throws CoordinatorError NAME_INVALID, LOAD_FAILED, BUDGET_EXCEEDED, COORDINATOR_CLOSING; the old version is untouched
   * then
   */
  async publish(
    name: string,
    source: string | readonly string[],
    options: PublishOptions = {},
    handBackMs = 0,
  ): Promise<Version> {
    assertName(name)
    const turn = this.#nextTurn++
    const { backing = 'file', pinned = false, load = 'now', priority = 0 } = options
    const { fingerprint, byteLength } = await inspectSource(source).catch((cause) => {
      throw loadFailed(name, cause)
    })
    const settings = { source, backing, pinned, priority }
    await this.#waitForMemory(name, fingerprint, settings, handBackMs)
    this.#assertOpen()
    const entry = this.#entries.get(name) ?? this.#newEntry(name, settings)
    const known = this.#findLoaded(name, fingerprint, settings)
    const version = known ?? new Version(name, entry.nextNumber++, fingerprint, byteLength)
    if (known === undefined) {
      entry.versions.push(version)
      try {
        if (load === 'now') await this.#load(version, settings)
        this.#assertOpen()
      } catch (error) {
        this.#forget(entry, version)
        throw error
      }
    }
    // A publish that began later and ended first is the newer one, and stays.
    if (entry.currentTurn > turn) return version === entry.current ? version : this.#settle(entry, version)
    Object.assign(entry, settings)
    const previous = entry.current
    version.state = version.memory === null ? 'unloaded' : 'ready'
    entry.current = version
    entry.currentTurn = turn
    this.emit('event', { type: 'published', version })
    if (previous !== null && previous !== version) this.#settle(entry, previous)
    return version
  }

  /** Takes a name off; its versions go with their last leases. */
  retire(name: string): void {
    const entry = this.#require(name)
    const previous = entry.current
    entry.current = null
    this.emit('event', { type: 'retired', checkpoint: name })
    if (previous !== null) this.#settle(entry, previous)
    this.#forgetIfEmpty(entry)
  }

  /**
   * A lease on a version, loading it if its memory was given up. Several who ask at once cause one load.
   * @param number null is the current version
   * @throws CoordinatorError CHECKPOINT_UNKNOWN, VERSION_UNKNOWN, VERSION_NOT_READY, LOAD_FAILED, BUDGET_EXCEEDED,
   * COORDINATOR_CLOSING
   */
  async acquire(name: string, number: number | null): Promise<Lease> {
    this.#assertOpen()
    const entry = this.#require(name)
    const version = number === null ? entry.current : entry.versions.find((candidate) => candidate.number === number)
    if (version === undefined) {
      const numbers = entry.versions.map((known) => `${known.number}`)
      const message = `Checkpoint "${name}" has no version ${number}; it has ${numbers.join(', ') || 'none'}`
      throw new CoordinatorError('VERSION_UNKNOWN', message, { checkpoint: name, candidates: numbers })
    }
    if (version === null || version.state === 'staging') {
      throw new CoordinatorError('VERSION_NOT_READY', `Checkpoint "${name}" is being loaded`, { checkpoint: name })
    }
    // Leased before it is loaded: what is wanted must not be given up for the next load.
    const lease = this.lease(version)
    try {
      // A copy of the settings: the entry's own are another version's once that is published.
      if (version.memory === null) await this.#load(version, { ...entry })
      this.#assertOpen()
      if (version.state === 'unloaded') version.state = 'ready'
      return lease
    } catch (error) {
      this.release(lease)
      throw error
    }
  }

  /** A lease on a version that is here, for a client that has it already. */
  lease(version: Version): Lease {
    const lease = { id: this.#nextLease++, version }
    version.leases.add(lease)
    version.lastUsed = ++this.#clock
    return lease
  }

  release(lease: Lease): void {
    const { version } = lease
    if (!version.leases.delete(lease)) return
    version.lastUsed = ++this.#clock
    const entry = this.#entries.get(version.checkpoint)
    if (entry !== undefined && entry.current !== version) this.#settle(entry, version)
  }

  /**
   * Takes in memory that a client handed back. A version that waits for its memory gets it; otherwise it becomes a version
   * of its own, kept for its leases, until it is published here.
   * @param number what the client calls it; another one when that is taken
   * @throws CoordinatorError NAME_INVALID, COORDINATOR_CLOSING
   */
  recover(name: string, number: number, fingerprint: string, memory: LoadedMemory, heldBytes: number): Version {
    assertName(name)
    this.#assertOpen()
    const { label, backing, shards } = memory.checkpoint
    const settings = { source: label, backing: backing as PublishedBacking, pinned: false, priority: 0 }
    const entry = this.#entries.get(name) ?? this.#newEntry(name, settings)
    let version = entry.versions.find((known) => known.fingerprint === fingerprint && known.state === 'unloaded')
    if (version === undefined || entry.backing !== backing) {
      const byteLength = shards.reduce((sum, shard) => sum + shard.byteLength, 0)
      const free = number <= MAX_CLIENTS_NUMBER && !entry.versions.some((known) => known.number === number)
      version = new Version(name, free ? number : entry.nextNumber, fingerprint, byteLength)
      entry.versions.push(version)
      entry.nextNumber = Math.max(entry.nextNumber, version.number + 1)
    }
    version.state = entry.current === version ? 'ready' : 'releasing'
    version.memory = memory
    version.heldBytes = heldBytes
    this.emit('event', { type: 'recovered', version })
    return version
  }

  /** Gives everything up. What is being loaded is given up too, and those who wait for it hear COORDINATOR_CLOSING. */
  close(): void {
    this.#stop.abort(closing())
    for (const version of this.versions()) version.unload()
    this.#entries.clear()
  }

  #assertOpen(): void {
    this.#stop.signal.throwIfAborted()
  }

  /** A version whose memory is as if it were loaded with these settings now. */
  #findLoaded(
    name: string,
    fingerprint: string,
    { backing, pinned }: Pick<Entry, 'backing' | 'pinned'>,
  ): Version | undefined {
    return this.#entries.get(name)?.versions.find((version) => {
      const { state, memory, heldBytes } = version
      const locked = backing === 'sealed' || !pinned || heldBytes > 0
      const ready = state !== 'staging' && version.fingerprint === fingerprint
      return ready && memory?.checkpoint.backing === backing && locked
    })
  }

  async #waitForMemory(
    name: string,
    fingerprint: string,
    settings: Pick<Entry, 'backing' | 'pinned'>,
    handBackMs: number,
  ): Promise<void> {
    const deadline = Date.now() + handBackMs
    for (let left = handBackMs; left > 0; left = deadline - Date.now()) {
      if (this.#stop.signal.aborted || this.#findLoaded(name, fingerprint, settings) !== undefined) return
      await waitForEvent(this, this.#changes, left, this.#stop.signal)
    }
  }

  async #load(version: Version, settings: Pick<Entry, 'source' | 'backing' | 'pinned' | 'priority'>): Promise<void> {
    const running = this.#loading.get(version)
    if (running !== undefined) return running
    const { priority } = settings
    const load = this.#loads.add(() => this.#loadNow(version, settings), { priority }) as Promise<void>
    this.#loading.set(version, load)
    try {
      await load
    } finally {
      this.#loading.delete(version)
    }
  }

  async #loadNow(
    version: Version,
    { source, backing, pinned }: Pick<Entry, 'source' | 'backing' | 'pinned'>,
  ): Promise<void> {
    this.#assertOpen()
    if (version.memory !== null) return
    const heldBytes = backing === 'sealed' || pinned ? version.byteLength : 0
    const giveBack = this.budget.reserve(heldBytes, `Checkpoint "${version.checkpoint}"`)
    try {
      const { signal } = this.#stop
      const memory = await loadSource(source, backing, pinned, signal).catch((cause) => {
        throw loadFailed(version.checkpoint, cause)
      })
      // A client may have handed the memory back meanwhile, and the coordinator may have been closed.
      const wanted = !signal.aborted && version.memory === null
      const changed = memory.checkpoint.fingerprint !== version.fingerprint
      if (!wanted || changed) {
        memory.directory.close()
        memory.checkpoint.close()
      }
      this.#assertOpen()
      if (!wanted) return
      if (changed) {
        const message = `Checkpoint "${version.checkpoint}": its files have changed since version ${version.number} was published; publish it again`
        throw new CoordinatorError('LOAD_FAILED', message, { checkpoint: version.checkpoint, version: version.number })
      }
      version.memory = memory
      version.heldBytes = heldBytes
    } finally {
      giveBack()
    }
    this.emit('event', { type: 'loaded', version })
  }

  #evict(version: Version): void {
    version.unload()
    version.state = 'unloaded'
    this.emit('event', { type: 'evicted', version })
  }

  /** A version that is no longer current: kept for its leases, gone without. */
  #settle(entry: Entry, version: Version): Version {
    version.state = 'releasing'
    if (version.leases.size > 0) return version
    version.unload()
    this.#forget(entry, version)
    this.emit('event', { type: 'released', version })
    return version
  }

  #forget(entry: Entry, version: Version): void {
    const at = entry.versions.indexOf(version)
    if (at >= 0) entry.versions.splice(at, 1)
    this.#forgetIfEmpty(entry)
  }

  #forgetIfEmpty(entry: Entry): void {
    const empty = entry.versions.length === 0 && entry.current === null
    if (empty && this.#entries.get(entry.name) === entry) this.#entries.delete(entry.name)
  }

  #newEntry(name: string, settings: Pick<Entry, 'source' | 'backing' | 'pinned' | 'priority'>): Entry {
    const entry: Entry = { name, ...settings, versions: [], current: null, currentTurn: 0, nextNumber: 1 }
    this.#entries.set(name, entry)
    return entry
  }

  #require(name: string): Entry {
    const entry = this.#entries.get(name)
    if (entry !== undefined && (entry.current !== null || entry.versions.some(({ state }) => state === 'staging')))
      return entry
    const known = [...this.#entries.values()].filter(({ current }) => current !== null).map((other) => other.name)
    const list = known.length === 0 ? 'it has none' : `it has ${known.join(', ')}`
    const message = `The coordinator has no checkpoint ${JSON.stringify(name)}; ${list}`
    throw new CoordinatorError('CHECKPOINT_UNKNOWN', message, { checkpoint: name, candidates: known })
  }
}

/**
 * Resolves with the first event after `seen`, when the time is up, or when the signal is aborted.
 * @param seen the registry's `changes` before the caller looked
 */
export async function waitForEvent(
  registry: Registry,
  seen: number,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  if (registry.changes !== seen || signal.aborted) return
  const stop = new AbortController()
  const abort = (): void => stop.abort()
  signal.addEventListener('abort', abort)
  const options = { signal: stop.signal }
  const either = [once(registry, 'event', options), sleep(Math.min(timeoutMs, MAX_WAIT_MS), undefined, options)]
  await Promise.race(either)
    .catch((error) => {
      if (!signal.aborted) throw error
    })
    .finally(() => {
      signal.removeEventListener('abort', abort)
      stop.abort()
    })
}

function closing(): CoordinatorError {
  return new CoordinatorError('COORDINATOR_CLOSING', 'The coordinator is stopping')
}

function assertName(name: string): void {
  if (NAME.test(name)) return
  const message = `Name ${JSON.stringify(name.slice(0, 80))} must begin with a letter or digit and go on with letters, digits and . _ / -, 200 at most`
  throw new CoordinatorError('NAME_INVALID', message, { checkpoint: name })
}

function loadFailed(name: string, cause: unknown): CoordinatorError {
  if (cause instanceof CoordinatorError) return cause
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new CoordinatorError('LOAD_FAILED', `Cannot load checkpoint "${name}": ${reason}`, { checkpoint: name, cause })
}
