import type { Checkpoint } from '@onecopy/checkpoint'
import type { FileMapping } from '@onecopy/sharedarraybuffer-utils'
import type { LoadSettings } from './load-version.ts'

/**
 * `staging`: being opened or loaded; `ready`: handed out; `releasing`: replaced or retired, kept for those who hold it;
 * `unloaded`: its memory was given up for want of room, and is loaded again when somebody asks.
 */
export type VersionState = 'staging' | 'ready' | 'releasing' | 'unloaded'

/** What a loaded version keeps in memory. */
export interface LoadedMemory {
  readonly checkpoint: Checkpoint
  /** The directory as sealed memory, which goes to clients beside the shards. */
  readonly directory: FileMapping
}

/** A client's right to a version; it ends with `release` or with the client's connection. */
export interface Lease {
  readonly id: number
  /** Another one once two memories of the same version have become one. */
  version: Version
}

/** One immutable published state of a named checkpoint. */
export class Version {
  readonly checkpoint: string
  readonly number: number
  readonly fingerprint: string
  readonly byteLength: number // of all shard files
  readonly since: Date = new Date()
  readonly leases: Set<Lease> = new Set()
  state: VersionState = 'staging'
  /** How it is loaded for the first time; null for what was not. */
  staged: LoadSettings | null = null
  /** Publishes that are about to make it current. */
  publishes = 0
  /** Null while it is not loaded. */
  memory: LoadedMemory | null = null
  /** Bytes of RAM that it holds for good: sealed or locked memory, not the page cache. */
  heldBytes = 0
  /** When it was last wanted, for choosing what to give up: a count that only rises. */
  lastUsed = 0

  constructor(checkpoint: string, number: number, fingerprint: string, byteLength: number) {
    this.checkpoint = checkpoint
    this.number = number
    this.fingerprint = fingerprint
    this.byteLength = byteLength
  }

  /** Bytes of RAM of the arenas that clients with a selection hold; they come beside `heldBytes`. */
  get arenaBytes(): number {
    return this.memory?.checkpoint.arenaBytes ?? 0
  }

  /** Gives the memory up; clients that have it mapped keep it. */
  unload(): void {
    this.memory?.directory.close()
    this.memory?.checkpoint.close()
    this.memory = null
    this.heldBytes = 0
  }
}
