import { CoordinatorError, type MemoryHolder } from '@onecopy/protocol'
import type { MemoryLimit } from './memory-limit.ts'
import type { Version } from './version.ts'

/** What the budget asks about versions. */
export interface BudgetedVersions {
  /** Every version that holds memory. */
  all(): Iterable<Version>
  pinned(version: Version): boolean
  /** Gives a version's memory up. */
  evict(version: Version): void
}

/**
 * The bytes of RAM that a coordinator may hold for good (sealed and locked memory). Room is reserved before anything is
 * read, so that two loads cannot both believe in the same free bytes.
 */
export class Budget {
  readonly byteLength: number | null
  /** What the limit follows; empty when it was set. */
  readonly from: string
  readonly #versions: BudgetedVersions
  readonly #available: () => number
  #reservedBytes = 0

  /** @param limit null is none; one of the machine also asks what is free at the moment */
  constructor(limit: number | MemoryLimit | null, versions: BudgetedVersions) {
    const follows = typeof limit === 'number' ? null : limit
    this.byteLength = follows?.byteLength ?? (limit as number | null)
    this.from = follows?.from ?? ''
    this.#available = () => follows?.available() ?? Number.POSITIVE_INFINITY
    this.#versions = versions
  }

  /** Held and reserved now. */
  get heldBytes(): number {
    let held = this.#reservedBytes
    for (const { heldBytes, arenaBytes } of this.#versions.all()) held += heldBytes + arenaBytes
    return held
  }

  /**
   * Makes room, giving up versions that nobody holds, least recently used first.
   * @returns gives the reservation back; call it once the memory counts as held, or when the load has failed
   * @throws CoordinatorError BUDGET_EXCEEDED with what holds the memory
   */
  reserve(byteLength: number, what: string): () => void {
    // What needs nothing fits, even when memory that clients handed back is beyond the budget.
    if (this.byteLength !== null && byteLength > 0) {
      // What is reserved may or may not have been taken already.
      const free = this.heldBytes - this.#reservedBytes + Math.max(0, this.#available())
      this.#makeRoom(byteLength, what, Math.min(this.byteLength, free))
    }
    this.#reservedBytes += byteLength
    let reserved = true
    return () => {
      if (reserved) this.#reservedBytes -= byteLength
      reserved = false
    }
  }

  #makeRoom(byteLength: number, what: string, limit: number): void {
    const idle = [...this.#versions.all()].filter((version) => this.#idle(version))
    const evictable = idle.reduce((sum, { heldBytes }) => sum + heldBytes, 0)
    // Nothing is given up for a load that does not fit anyway.
    if (this.heldBytes - evictable + byteLength > limit) throw this.#exceeded(byteLength, what, limit)
    idle.sort((a, b) => a.lastUsed - b.lastUsed)
    for (const version of idle) {
      if (this.heldBytes + byteLength <= limit) return
      this.#versions.evict(version)
    }
  }

  /** A version that has been loaded and is about to be published is not idle. */
  #idle(version: Version): boolean {
    return (
      version.leases.size === 0 &&
      version.publishes === 0 &&
      version.state !== 'staging' &&
      !this.#versions.pinned(version)
    )
  }

  #exceeded(byteLength: number, what: string, limit: number): CoordinatorError {
    const holders: MemoryHolder[] = []
    for (const version of this.#versions.all()) {
      const { checkpoint, number, leases } = version
      const heldBytes = version.heldBytes + version.arenaBytes
      if (heldBytes === 0 || this.#idle(version)) continue
      holders.push({
        checkpoint,
        version: number,
        heldBytes,
        leases: leases.size,
        pinned: this.#versions.pinned(version),
      })
    }
    const list = holders.map(({ checkpoint, version, heldBytes, leases, pinned }) => {
      const why = [leases > 0 && `${leases} leases`, pinned && 'pinned'].filter(Boolean).join(', ')
      return `${checkpoint}@${version} holds ${heldBytes} bytes (${why || 'being published'})`
    })
    if (this.#reservedBytes > 0) list.push(`${this.#reservedBytes} bytes are being loaded`)
    const holding = list.length === 0 ? 'nothing else holds memory' : list.join(', ')
    const scarce = limit === this.byteLength ? '' : `, of which no more than ${limit} bytes can be had now`
    const follows = this.from === '' ? '' : ` (${this.from}, less what is left for others)`
    const budget = `the budget is ${this.byteLength} bytes${follows}${scarce}`
    const message = `${what} needs ${byteLength} bytes; ${budget}, and ${holding}`
    return new CoordinatorError('BUDGET_EXCEEDED', message, { holders })
  }
}
