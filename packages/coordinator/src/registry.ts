import { EventEmitter, setMaxListeners } from 'node:events'
import { assertCheckpointName, CoordinatorError, unlessAborted } from '@onecopy/protocol'
import type { FileMapping } from '@onecopy/sharedarraybuffer-utils'
import { Budget } from './budget.ts'
import { inspectSource, type LoadSettings, loadSource, type PublishedBacking } from './load-version.ts'
import { Loads } from './loads.ts'
import type { MemoryLimit } from './memory-limit.ts'
import { NameWatch } from './name-watch.ts'
import { type Lease, type LoadedMemory, Version } from './version.ts'

const NEVER = new AbortController().signal
// As many as wait.
setMaxListeners(0, NEVER)

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
  /** Gives up: nothing is published, and what is being loaded for nobody else is given up too. */
  readonly signal?: AbortSignal
}

/** A named checkpoint: the settings of what was published last, and its versions, the newest last. */
export interface Entry extends LoadSettings {
  readonly name: string
  readonly versions: Version[]
  /** What `acquire` hands out; null once retired, and before the first version is ready. */
  current: Version | null
  /** Which publish made it known, and which made it current; they are counted as they begin. */
  readonly firstTurn: number
  currentTurn: number
}

/** A publish that has not ended. */
interface Publishing {
  readonly turn: number
  readonly stop: AbortController
}

/** What is known of a version that an earlier coordinator published. */
export interface RecordedVersion {
  readonly checkpoint: string
  readonly version: number
  readonly fingerprint: string
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
  /** Each name's next version number: also of names that are gone, so that no number is ever used twice. */
  readonly #nextNumbers = new Map<string, number>()
  readonly #publishing = new Map<string, Set<Publishing>>()
  readonly #loads = new Loads()
  readonly #names = new NameWatch()
  #closed = false
  #nextLease = 1
  #nextTurn = 1
  #clock = 0

  /** @param limit of sealed and locked memory, in bytes; null is none */
  constructor(limit: number | MemoryLimit | null) {
    super()
    this.budget = new Budget(limit, {
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

  /** Checkpoints that are being published or loaded now. */
  get loading(): number {
    const names = new Set(this.#publishing.keys())
    for (const { checkpoint } of this.#loads.versions) names.add(checkpoint)
    return names.size
  }

  /**
   * Opens and validates a new version while the old one serves, then flips. Memory with the same fingerprint that is here
   * already, because a client handed it back, still holds that version or publishes it too, is taken instead of reading.
   * @param handBackMs how long to wait for such memory, given its fingerprint
   * @throws CoordinatorError NAME_INVALID, LOAD_FAILED, BUDGET_EXCEEDED, PUBLISH_CANCELLED, COORDINATOR_CLOSING; the
   * signal's reason. The old version is untouched then
   */
  async publish(
    name: string,
    source: string | readonly string[],
    options: PublishOptions = {},
    handBackMs: (fingerprint: string) => number = () => 0,
  ): Promise<Version> {
    assertCheckpointName(name)
    this.#assertOpen()
    const { backing = 'file', pinned = false, load = 'now', priority = 0, signal } = options
    signal?.throwIfAborted()
    const publishing: Publishing = { turn: this.#nextTurn++, stop: new AbortController() }
    const others = this.#publishing.get(name) ?? new Set()
    this.#publishing.set(name, others.add(publishing))
    const abort = (): void => publishing.stop.abort(signal?.reason)
    signal?.addEventListener('abort', abort)
    try {
      return await this.#publish(name, { source, backing, pinned, priority }, load, handBackMs, publishing)
    } finally {
      signal?.removeEventListener('abort', abort)
      others.delete(publishing)
      if (others.size === 0) this.#publishing.delete(name)
    }
  }

  async #publish(
    name: string,
    settings: LoadSettings,
    load: 'now' | 'on-demand',
    handBackMs: (fingerprint: string) => number,
    { turn, stop: { signal } }: Publishing,
  ): Promise<Version> {
    const inspected = unlessAborted(inspectSource(settings.source, signal), signal)
    const { fingerprint, byteLength } = await inspected.catch((cause) => {
      throw loadFailed(name, cause, signal)
    })
    await this.#waitForMemory(name, fingerprint, settings, handBackMs(fingerprint), signal)
    signal.throwIfAborted()
    const entry = this.#entries.get(name) ?? this.#newEntry(name, settings, turn)
    const version =
      this.#findAlike(name, fingerprint, settings) ?? this.#newVersion(entry, fingerprint, byteLength, settings)
    version.publishes++
    try {
      if (version.state === 'staging' && load === 'now') await this.#load(version, settings, signal)
      signal.throwIfAborted()
    } catch (error) {
      version.publishes--
      this.#settleUnlessCurrent(entry, version)
      throw error
    }
    version.publishes--
    // A publish that began later and ended first is the newer one, and stays.
    if (entry.currentTurn > turn) return this.#settleUnlessCurrent(entry, version)
    Object.assign(entry, settings)
    const previous = entry.current
    version.state = version.memory === null ? 'unloaded' : 'ready'
    entry.current = version
    entry.currentTurn = turn
    this.#tell({ type: 'published', version })
    this.#joinTwin(entry, version)
    if (previous !== null) this.#settleUnlessCurrent(entry, previous)
    return version
  }

  /**
   * Takes a name off; its versions go with their last leases. What is being published under it at this moment is given up.
   * @throws CoordinatorError CHECKPOINT_UNKNOWN
   */
  retire(name: string): void {
    const entry = this.#entries.get(name)
    const previous = entry?.current ?? null
    const publishing = this.#publishing.get(name)
    if (previous === null && publishing === undefined) throw this.#unknown(name)
    for (const { stop } of publishing ?? []) stop.abort(retired(name))
    if (entry !== undefined) entry.current = null
    this.#tell({ type: 'retired', checkpoint: name })
    if (entry !== undefined && previous !== null) this.#settleUnlessCurrent(entry, previous)
  }

  /**
   * A lease on a version, loading it if its memory was given up. Several who ask at once cause one load.
   * @param number null is the current version; any other can be had as long as it is here, also of a name that was retired
   * @param signal nobody waits for the lease any more
   * @throws CoordinatorError CHECKPOINT_UNKNOWN, VERSION_UNKNOWN, VERSION_NOT_READY, LOAD_FAILED, BUDGET_EXCEEDED,
   * COORDINATOR_CLOSING; the signal's reason
   */
  async acquire(name: string, number: number | null, signal: AbortSignal = NEVER): Promise<Lease> {
    this.#assertOpen()
    const version = this.#find(name, number)
    // Leased before it is loaded: what is wanted must not be given up for the next load.
    const lease = this.lease(version)
    try {
      // A copy of the settings: the entry's own are another version's once that is published.
      if (version.memory === null) await this.#load(version, { ...this.#entries.get(name)! }, signal)
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
    if (entry === undefined) return
    this.#settleUnlessCurrent(entry, version)
    this.#joinTwin(entry, version)
  }

  /** The version that has this very memory. */
  findMemory(name: string, { id }: FileMapping): Version | undefined {
    return this.#entries.get(name)?.versions.find(({ memory }) => memory?.directory.id === id)
  }

  /**
   * Takes in memory that a client handed back. A version that waits for its memory, or has it twice now and no leases, gets it;
   * otherwise it becomes a version of its own, kept for its leases, until it is published here or the other one is free.
   * @throws CoordinatorError COORDINATOR_CLOSING
   */
  recover(recorded: RecordedVersion, memory: LoadedMemory, heldBytes: number): Version {
    this.#assertOpen()
    const { checkpoint: name, fingerprint } = recorded
    const settings = { source: memory.checkpoint.label, backing: 'sealed', pinned: false, priority: 0 } as const
    const entry = this.#entries.get(name) ?? this.#newEntry(name, settings, this.#nextTurn++)
    const same = entry.versions.filter((known) => known.fingerprint === fingerprint)
    const version =
      same.find((known) => known.leases.size === 0 && backingOf(known, entry) === 'sealed') ??
      this.#recoveredVersion(entry, recorded, memory, same[0]?.number ?? null)
    if (version.state === 'unloaded') version.state = 'ready'
    version.unload()
    version.memory = memory
    version.heldBytes = heldBytes
    this.#loads.spare(version)
    this.#tell({ type: 'recovered', version })
    return version
  }

  /** @param number of the same version in other memory; null for a version that is not here */
  #recoveredVersion(
    entry: Entry,
    recorded: RecordedVersion,
    { checkpoint: { shards } }: LoadedMemory,
    number: number | null,
  ): Version {
    const { name, versions } = entry
    const byteLength = shards.reduce((sum, shard) => sum + shard.byteLength, 0)
    const next = this.#nextNumbers.get(name) ?? 1
    const taken = versions.some((known) => known.number === recorded.version)
    const version = new Version(name, number ?? (taken ? next : recorded.version), recorded.fingerprint, byteLength)
    version.state = 'releasing'
    versions.push(version)
    this.#nextNumbers.set(name, Math.max(next, version.number + 1))
    return version
  }

  /** Tries again whenever something has happened to a name, see NameWatch. */
  until<Result>(
    name: string,
    attempt: () => Result | Promise<Result>,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<Result> {
    return this.#names.until(name, attempt, waitMs, signal)
  }

  /** Gives everything up. What is being loaded is given up too, and those who wait for it hear COORDINATOR_CLOSING. */
  close(): void {
    this.#closed = true
    for (const publishing of this.#publishing.values()) for (const { stop } of publishing) stop.abort(closing())
    this.#loads.close(closing())
    this.#names.close()
    for (const version of this.versions()) version.unload()
    this.#entries.clear()
  }

  #assertOpen(): void {
    if (this.#closed) throw closing()
  }

  #tell(event: RegistryEvent): void {
    this.emit('event', event)
    this.#names.happened(event.type === 'retired' ? event.checkpoint : event.version.checkpoint)
  }

  #find(name: string, number: number | null): Version {
    const entry = this.#entries.get(name)
    const versions = entry?.versions ?? []
    const version = number === null ? entry?.current : versions.find((known) => known.number === number)
    if (version != null && version.state !== 'staging') return version
    const known = entry?.current != null || (number !== null && versions.length > 0)
    if (version == null && known) {
      const numbers = versions.map((each) => `${each.number}`)
      const message = `Checkpoint "${name}" has no version ${number}; it has ${numbers.join(', ')}`
      throw new CoordinatorError('VERSION_UNKNOWN', message, { checkpoint: name, candidates: numbers })
    }
    if (version == null && !this.#publishing.has(name)) throw this.#unknown(name)
    throw new CoordinatorError('VERSION_NOT_READY', `Checkpoint "${name}" is being loaded`, { checkpoint: name })
  }

  /** A version that was or is being loaded with these settings, or as good as. */
  #findAlike(name: string, fingerprint: string, { backing, pinned }: LoadSettings): Version | undefined {
    return this.#entries.get(name)?.versions.find((version) => {
      if (version.fingerprint !== fingerprint) return false
      if (version.state === 'staging') {
        const { staged } = version
        return version.publishes > 0 && staged?.backing === backing && staged.pinned === pinned
      }
      const locked = backing === 'sealed' || !pinned || version.heldBytes > 0
      return version.memory?.checkpoint.backing === backing && locked
    })
  }

  async #waitForMemory(
    name: string,
    fingerprint: string,
    settings: LoadSettings,
    handBackMs: number,
    signal: AbortSignal,
  ): Promise<void> {
    const isHere = (): void => {
      if (this.#findAlike(name, fingerprint, settings) === undefined) throw this.#unknown(name)
    }
    if (handBackMs > 0) await this.until(name, isHere, handBackMs, signal).catch(() => {})
  }

  #load(version: Version, settings: LoadSettings, signal: AbortSignal): Promise<void> {
    const { backing, pinned, priority } = settings
    const heldBytes = backing === 'sealed' || pinned ? version.byteLength : 0
    return this.#loads.load(version, { heldBytes, priority }, signal, (stop) =>
      this.#loadNow(version, settings, heldBytes, stop),
    )
  }

  async #loadNow(
    version: Version,
    { source, backing, pinned }: LoadSettings,
    heldBytes: number,
    signal: AbortSignal,
  ): Promise<void> {
    this.#assertOpen()
    signal.throwIfAborted()
    if (version.memory !== null) return
    const giveBack = this.budget.reserve(heldBytes, `Checkpoint "${version.checkpoint}"`)
    try {
      const memory = await loadSource(source, backing, pinned, signal).catch((cause) => {
        throw loadFailed(version.checkpoint, cause, signal)
      })
      // A client may have handed the memory back meanwhile, and nobody may want it any more.
      const wanted = !signal.aborted && version.memory === null
      const changed = memory.checkpoint.fingerprint !== version.fingerprint
      if (!wanted || changed) {
        memory.directory.close()
        memory.checkpoint.close()
      }
      signal.throwIfAborted()
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
    this.#tell({ type: 'loaded', version })
  }

  #evict(version: Version): void {
    version.unload()
    version.state = 'unloaded'
    this.#tell({ type: 'evicted', version })
  }

  /** A version that is not current: kept for its leases and for those who are about to publish it, gone without. */
  #settleUnlessCurrent(entry: Entry, version: Version): Version {
    if (entry.current === version || !entry.versions.includes(version)) return version
    if (version.publishes > 0) return version
    const loaded = version.state !== 'staging' || version.memory !== null
    version.state = 'releasing'
    if (version.leases.size > 0) return version
    version.unload()
    entry.versions.splice(entry.versions.indexOf(version), 1)
    if (entry.versions.length === 0 && this.#entries.get(entry.name) === entry) this.#entries.delete(entry.name)
    if (loaded) this.#tell({ type: 'released', version })
    return version
  }

  /** Of two memories of the current version one is enough as soon as nobody has a lease on the first. */
  #joinTwin(entry: Entry, version: Version): void {
    if (entry.current !== version || version.leases.size > 0 || version.publishes > 0) return
    const { fingerprint, memory } = version
    const twin = entry.versions.find((other) => other !== version && other.fingerprint === fingerprint)
    if (twin?.publishes !== 0 || [memory, twin.memory].some((each) => each?.checkpoint.backing !== 'sealed')) return
    version.unload()
    version.memory = twin.memory
    version.heldBytes = twin.heldBytes
    for (const lease of twin.leases) {
      lease.version = version
      version.leases.add(lease)
    }
    twin.memory = null
    twin.heldBytes = 0
    twin.leases.clear()
    entry.versions.splice(entry.versions.indexOf(twin), 1)
    this.#tell({ type: 'recovered', version })
  }

  #newEntry(name: string, settings: LoadSettings, firstTurn: number): Entry {
    const entry: Entry = { name, ...settings, versions: [], current: null, firstTurn, currentTurn: 0 }
    this.#entries.set(name, entry)
    return entry
  }

  #newVersion(entry: Entry, fingerprint: string, byteLength: number, staged: LoadSettings): Version {
    const number = this.#nextNumbers.get(entry.name) ?? 1
    this.#nextNumbers.set(entry.name, number + 1)
    const version = new Version(entry.name, number, fingerprint, byteLength)
    version.staged = staged
    entry.versions.push(version)
    return version
  }

  #unknown(name: string): CoordinatorError {
    const known = [...this.#entries.values()].filter(({ current }) => current !== null).map((other) => other.name)
    const list = known.length === 0 ? 'it has none' : `it has ${known.join(', ')}`
    const message = `The coordinator has no checkpoint ${JSON.stringify(name)}; ${list}`
    return new CoordinatorError('CHECKPOINT_UNKNOWN', message, { checkpoint: name, candidates: known })
  }
}

/** Of a version as it is, or is to be loaded. */
function backingOf({ memory, state, staged }: Version, entry: Entry): PublishedBacking {
  if (memory !== null) return memory.checkpoint.backing === 'sealed' ? 'sealed' : 'file'
  return state === 'staging' && staged !== null ? staged.backing : entry.backing
}

function closing(): CoordinatorError {
  return new CoordinatorError('COORDINATOR_CLOSING', 'The coordinator is stopping')
}

function retired(name: string): CoordinatorError {
  const message = `Checkpoint "${name}" was retired while it was being published; nothing was published`
  return new CoordinatorError('PUBLISH_CANCELLED', message, { checkpoint: name })
}

function loadFailed(name: string, cause: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason
  if (cause instanceof CoordinatorError) return cause
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new CoordinatorError('LOAD_FAILED', `Cannot load checkpoint "${name}": ${reason}`, { checkpoint: name, cause })
}
