import { randomUUID } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { type ArenaHold, quoteName } from '@onecopy/checkpoint'
import { CoordinatorError } from '@onecopy/protocol'
import { type Descriptor, type FileMapping, isSealed } from '@onecopy/sharedarraybuffer-utils'
import { type LedgerRecord, type MemoryId, readRecords, writeRecords } from './ledger-records.ts'
import type { LoadedMemory, Version } from './version.ts'

/** Longest ledger that is read, in bytes: thousands of shards take 100 bytes each. */
const MAX_LEDGER_BYTES = 16 * 2 ** 20

/** Memory that nobody has a lease on, and that a client which was frozen or cut off may still hand back: the latest of it. */
const MAX_UNLEASED = 32

/** Likewise of arenas, of one version. */
const MAX_ARENAS = 256

/** Leases end in crowds; what changes nothing but how long the next coordinator waits is written a little later. */
const WRITE_PAUSE_MS = 1000

/** Changes with every boot: no memory outlives one. */
const BOOT_ID = '/proc/sys/kernel/random/boot_id'

interface Entry {
  record: LedgerRecord
  /** What is here of it; null until it is handed back. */
  memory: LoadedMemory | null
  /** Null for those that are not here. */
  readonly arenas: Map<MemoryId, FileMapping | null>
  /** As the ledger has it: somebody has a lease. */
  out: boolean
}

/** Names of a checkpoint's version, as clients and ledgers have them. */
type Named = Pick<LedgerRecord, 'checkpoint' | 'fingerprint'>

/**
 * The memory that a coordinator sealed and gave out, written down beside its socket for the one that comes after it. That one
 * takes back what stands here and nothing else: a client can offer any memory under any name, but the kernel tells which
 * memory a descriptor is of (device, inode, time of birth, length), sealed memory stays what it was, and only this
 * coordinator's own user may write the ledger. So nothing that is handed back has to be read, or believed.
 */
export class Ledger {
  readonly #path: string
  readonly #versions: () => Iterable<Version>
  readonly #tell: (error: Error) => void
  readonly #entries = new Map<string, Entry>()
  readonly #bootId: string
  readonly #waitUntil: number
  #timer: NodeJS.Timeout | null = null
  #failed = false
  #closed = false

  /**
   * @param path of its file; what a coordinator before this one left there is read
   * @param versions all that this coordinator has
   * @param handBackMs how long clients of the coordinator before are waited for
   * @param tell hears once that the ledger cannot be read, and once that it cannot be written
   */
  constructor(path: string, versions: () => Iterable<Version>, handBackMs: number, tell: (error: Error) => void) {
    this.#path = path
    this.#versions = versions
    this.#tell = tell
    this.#bootId = readBootId()
    this.#waitUntil = performance.now() + handBackMs
    try {
      for (const record of readLedger(path, this.#bootId)) {
        this.#entries.set(keyOf(record, record.memory[0]), entryOf(record))
      }
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      const message = `The ledger ${quoteName(path)} is not used, so no memory is taken back from clients: ${reason}`
      tell(new CoordinatorError('LEDGER_UNUSABLE', message, { path, cause }))
    }
    // Whoever has not come until then is not waited for by the next coordinator either.
    if (this.#entries.size > 0) this.#writeLater(handBackMs + WRITE_PAUSE_MS)
  }

  /** How long a version may still come back from a client of the coordinator before, in milliseconds. */
  waitMs({ checkpoint, fingerprint }: Named): number {
    for (const { record, memory, out } of this.#entries.values()) {
      const same = record.checkpoint === checkpoint && record.fingerprint === fingerprint
      if (same && out && memory === null && record.memory.length > 0) {
        return Math.max(0, this.#waitUntil - performance.now())
      }
    }
    return 0
  }

  /**
   * What the ledger has of memory that is handed back.
   * @param descriptors the directory, then the shards. Nothing is called on them that could wait for whoever made them
   * @throws CoordinatorError RESUME_REFUSED for what is not in the ledger
   */
  recognise(named: Named, descriptors: readonly Descriptor[]): LedgerRecord {
    const ids = idsOf(named, descriptors)
    const record = this.#entries.get(keyOf(named, ids[0]))?.record
    if (
      record !== undefined &&
      record.memory.length === ids.length &&
      record.memory.every((id, at) => id === ids[at])
    ) {
      return record
    }
    return refuse(named, 'no coordinator at this socket has sealed it for that version')
  }

  /** Sees to it that arenas are memory that was gathered here. @throws CoordinatorError RESUME_REFUSED */
  recogniseArenas(named: Named, descriptors: readonly Descriptor[]): void {
    const known = [...this.#entries.values()].filter(({ record }) => record.fingerprint === named.fingerprint)
    for (const id of idsOf(named, descriptors)) {
      if (!known.some(({ arenas }) => arenas.has(id))) refuse(named, 'no coordinator at this socket has gathered it')
    }
  }

  /** Writes down what is about to go to a client, or came from one, unless it stands there. */
  note(version: Version, { arenas }: ArenaHold): void {
    const { memory } = version
    const sealed = memory?.checkpoint.backing === 'sealed'
    if (this.#closed || memory === null || (!sealed && arenas.length === 0)) return
    const directory = memoryId(memory.directory.descriptor)
    const key = keyOf(version, sealed ? directory : undefined)
    const entry = this.#entries.get(key) ?? entryOf(recordOf(version, memory, sealed ? directory : null))
    let changed = !this.#entries.has(key) || !entry.out
    entry.memory = memory
    entry.out = true
    for (const arena of arenas) {
      const mapping = arena.memory as FileMapping
      const id = memoryId(mapping.descriptor)
      changed ||= !entry.arenas.has(id)
      entry.arenas.set(id, mapping)
    }
    // The latest comes last.
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    if (changed) this.#write()
  }

  /** A lease has ended. */
  review(): void {
    this.#writeLater(WRITE_PAUSE_MS)
  }

  /** Writes down for the next coordinator who has leases now; what happens afterwards is none of its business. */
  close(): void {
    if (this.#closed) return
    this.#write()
    this.#closed = true
  }

  #writeLater(pauseMs: number): void {
    if (this.#closed || this.#timer !== null) return
    this.#timer = setTimeout(() => this.#write(), pauseMs).unref()
  }

  #write(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.#sweep()
    try {
      if (this.#entries.size === 0) rmSync(this.#path, { force: true })
      else {
        const records = [...this.#entries.values()].map(({ record, arenas, out }) => {
          return { ...record, arenas: [...arenas.keys()], out }
        })
        const fresh = `${this.#path}.new`
        rmSync(fresh, { force: true })
        writeFileSync(fresh, writeRecords(this.#bootId, records), { mode: 0o600, flag: 'wx' })
        renameSync(fresh, this.#path)
      }
      this.#failed = false
    } catch (cause) {
      if (this.#failed) return
      this.#failed = true
      const reason = cause instanceof Error ? cause.message : String(cause)
      const message = `The ledger ${quoteName(this.#path)} cannot be written, so the next coordinator takes no memory back: ${reason}`
      this.#tell(new CoordinatorError('LEDGER_UNUSABLE', message, { path: this.#path, cause }))
    }
  }

  /** Brings `out` up to date, and forgets the oldest of what nobody here holds. */
  #sweep(): void {
    const leased = new Set<LoadedMemory | null>()
    for (const { leases, memory } of this.#versions()) if (leases.size > 0) leased.add(memory)
    const waits = performance.now() < this.#waitUntil
    let unleased = 0
    for (const [key, entry] of [...this.#entries].reverse()) {
      entry.out = entry.memory === null ? entry.out && waits : leased.has(entry.memory)
      // What was unloaded must not be kept by its mention here.
      if (!entry.out) entry.memory = null
      for (const [id, mapping] of entry.arenas) if (mapping?.closed) entry.arenas.set(id, null)
      const gone = [...entry.arenas].filter(([, mapping]) => mapping === null)
      for (const [id] of gone.slice(0, -MAX_ARENAS)) entry.arenas.delete(id)
      if (!entry.out && ++unleased > MAX_UNLEASED) this.#entries.delete(key)
    }
  }
}

/** What the kernel says of memory: its inode's numbers may be used again when it is gone, but never its time of birth. */
export function memoryId({ number }: Descriptor): MemoryId {
  const { dev, ino, size, birthtimeNs, ctimeNs } = fstatSync(number, { bigint: true })
  // Before Linux 6.0 memory has no time of birth; whoever then changes the other only hinders himself.
  return `${dev}:${ino}:${birthtimeNs === 0n ? ctimeNs : birthtimeNs}:${size}`
}

/** @throws CoordinatorError RESUME_REFUSED when one is not sealed memory */
function idsOf(named: Named, descriptors: readonly Descriptor[]): MemoryId[] {
  return descriptors.map((descriptor) => {
    // Seals first: fstat of a file on FUSE waits for whoever serves it.
    if (!isSealedFor(named, descriptor)) refuse(named, 'a descriptor is not sealed memory')
    return memoryId(descriptor)
  })
}

/** @throws CoordinatorError RESUME_REFUSED where that cannot be asked, as of what was opened with O_PATH */
function isSealedFor(named: Named, descriptor: Descriptor): boolean {
  try {
    return isSealed(descriptor)
  } catch (cause) {
    return refuse(named, cause instanceof Error ? cause.message : String(cause), cause)
  }
}

function refuse({ checkpoint }: Named, reason: string, cause?: unknown): never {
  const message = `Memory of checkpoint ${quoteName(checkpoint)} is not taken back: ${reason}`
  throw new CoordinatorError('RESUME_REFUSED', message, { checkpoint, ...(cause !== undefined && { cause }) })
}

function recordOf(version: Version, { checkpoint }: LoadedMemory, id: MemoryId | null): LedgerRecord {
  const shards = id === null ? [] : checkpoint.shards.map(({ name }) => name)
  const memory = id === null ? [] : [id, ...checkpoint.descriptors().map(memoryId)]
  const { number, fingerprint } = version
  return {
    checkpoint: version.checkpoint,
    version: number,
    fingerprint,
    label: checkpoint.label,
    memory,
    shards,
    arenas: [],
    out: true,
  }
}

function entryOf(record: LedgerRecord): Entry {
  return { record, memory: null, arenas: new Map(record.arenas.map((id) => [id, null])), out: record.out }
}

/** @param directory its memory, where that is sealed */
function keyOf({ checkpoint, fingerprint }: Named, directory: MemoryId | undefined): string {
  return JSON.stringify([checkpoint, fingerprint, directory ?? null])
}

function readBootId(): string {
  try {
    return readFileSync(BOOT_ID, 'utf8').trim()
  } catch {
    return randomUUID() // without /proc nothing can be taken back
  }
}

/** @throws Error that says what is wrong with the file */
function readLedger(path: string, bootId: string): readonly LedgerRecord[] {
  let descriptor: number
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
  try {
    const found = fstatSync(descriptor)
    const uid = process.geteuid?.() ?? found.uid
    if (!found.isFile()) throw new TypeError('it is not a file')
    if (found.uid !== uid) throw new TypeError(`it belongs to user ${found.uid}, not to user ${uid}`)
    if ((found.mode & 0o077) !== 0)
      throw new TypeError(`it has mode 0${(found.mode & 0o7777).toString(8)}; it must have 0600`)
    if (found.size > MAX_LEDGER_BYTES) throw new TypeError(`it has ${found.size} bytes`)
    return readRecords(readFileSync(descriptor, 'utf8'), bootId)
  } finally {
    closeSync(descriptor)
  }
}
