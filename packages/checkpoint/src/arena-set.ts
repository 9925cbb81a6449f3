import { FileMapping, type SealOptions } from '@onecopy/sharedarraybuffer-utils'
import { type Arena, holdsPart } from './arena.ts'
import { CheckpointError } from './errors.ts'
import type { GatheredPart } from './select-parts.ts'
import type { ShardMemory } from './shard-memory.ts'

/** Options of `ArenaSet.hold`. */
export interface GatherOptions extends Pick<SealOptions, 'signal' | 'onProgress'> {
  /** Of an attached checkpoint, how long the coordinator may take, in milliseconds. @default as long as gathering takes */
  readonly timeoutMs?: number
  /**
   * Called with the bytes of memory that are about to be taken; may throw. What it returns is called when they count in
   * `arenaBytes`, or when gathering has failed.
   */
  readonly reserve?: (byteLength: number) => () => void
}

/** Somebody's right to some arenas, until it is released. */
export interface ArenaHold {
  readonly arenas: readonly Arena[]
  /** Idempotent. */
  release(): void
}

type Gather = (parts: readonly GatheredPart[], options: GatherOptions) => Promise<Arena>

/** What a selection needs of the arenas that are there, and what had to be gathered for it. */
export interface FoundArenas {
  readonly used: readonly Arena[]
  readonly made: Arena | null
}

/** @param reserve as `GatherOptions.reserve`, called at most once */
type Find = (held: readonly Arena[], reserve: (byteLength: number) => void) => Promise<FoundArenas>

/** The arenas of one checkpoint: each part is gathered once, and goes when nobody holds it any more. */
export class ArenaSet {
  readonly #gather: Gather
  readonly #holders = new Map<Arena, number>()
  /** The end of whatever is being gathered: one at a time, so that nothing is gathered twice. */
  #queue: Promise<unknown> = Promise.resolve()
  #closed = false

  constructor(gather: Gather) {
    this.#gather = gather
  }

  /** Memory of all arenas that are held. */
  get byteLength(): number {
    let sum = 0
    for (const { byteLength } of this.#holders.keys()) sum += byteLength
    return sum
  }

  /** Gathers what of the parts is not here yet, and holds all of them. */
  hold(parts: readonly GatheredPart[], options: GatherOptions = {}): Promise<ArenaHold> {
    return this.holdFound(async (held, reserve) => {
      const { used, missing } = splitParts(parts, held)
      if (missing.length === 0) return { used, made: null }
      reserve(bytesOf(missing))
      return { used, made: await this.#gather(missing, options) }
    }, options)
  }

  /**
   * Holds what is found, or gathered, by somebody else.
   * @param find is called when its turn has come: what it works out may be far larger than what asks for it
   */
  holdFound(find: Find, options: Pick<GatherOptions, 'signal' | 'reserve'> = {}): Promise<ArenaHold> {
    const held = this.#queue.then(() => {
      options.signal?.throwIfAborted()
      this.#assertOpen()
      return this.#hold(find, options)
    })
    this.#queue = held.catch(() => {})
    return held
  }

  /** Takes in arenas that somebody has, and holds them; memory that is here already is held where it is. */
  adopt(arenas: readonly Arena[]): ArenaHold {
    const held: Arena[] = []
    for (const arena of arenas) {
      const known = [...this.#holders.keys(), ...held].find(({ memory }) => isSameMemory(memory, arena.memory))
      if (known !== undefined) arena.memory.close()
      held.push(known ?? arena)
    }
    return this.#count(held)
  }

  /** Arenas go with their holders; nobody gets new ones. */
  close(): void {
    this.#closed = true
  }

  async #hold(find: Find, options: Pick<GatherOptions, 'reserve'>): Promise<ArenaHold> {
    // What is there must not go while the rest is gathered.
    const there = this.#count([...this.#holders.keys()])
    let counted: (() => void) | undefined
    try {
      const { used, made } = await find(there.arenas, (byteLength) => {
        counted = options.reserve?.(byteLength)
      })
      if (this.#closed) made?.memory.close()
      this.#assertOpen()
      return this.#count(made === null ? used : [...used, made])
    } catch (error) {
      this.#assertOpen(error) // gathering from memory that is closed fails in ways of its own
      throw error
    } finally {
      counted?.()
      there.release()
    }
  }

  #assertOpen(cause?: unknown): void {
    if (!this.#closed) return
    const message = 'The checkpoint was closed before all selected parts of it were gathered'
    throw new CheckpointError('CHECKPOINT_CLOSED', message, { cause })
  }

  #count(arenas: readonly Arena[]): ArenaHold {
    for (const arena of arenas) this.#holders.set(arena, (this.#holders.get(arena) ?? 0) + 1)
    let held = true
    const release = (): void => {
      if (!held) return
      held = false
      for (const arena of arenas) {
        const others = this.#holders.get(arena)! - 1
        if (others > 0) this.#holders.set(arena, others)
        else {
          this.#holders.delete(arena)
          arena.memory.close()
        }
      }
    }
    return { arenas, release }
  }
}

/** Which arenas have some of the parts, and the parts that none has, each once. */
export function splitParts(
  parts: readonly GatheredPart[],
  arenas: readonly Arena[],
): { used: readonly Arena[]; missing: readonly GatheredPart[] } {
  const used = new Set<Arena>()
  const missing = new Map<string, GatheredPart>()
  for (const part of parts) {
    const arena = arenas.find((each) => holdsPart(each, part))
    if (arena === undefined) missing.set(part.key, part)
    else used.add(arena)
  }
  return { used: [...used], missing: [...missing.values()] }
}

/** Of all parts together. */
export function bytesOf(parts: readonly GatheredPart[]): number {
  return parts.reduce((sum, { slice }) => sum + slice.byteLength, 0)
}

function isSameMemory(a: ShardMemory, b: ShardMemory): boolean {
  return a instanceof FileMapping && b instanceof FileMapping && a.id === b.id
}
