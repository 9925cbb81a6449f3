import { EventEmitter } from 'node:events'
import { quoteName } from '@onecopy/safetensors'
import { type ByteRange, FileMapping } from '@onecopy/sharedarraybuffer-utils'
import { Directory, type ShardInfo } from './directory.ts'
import { CheckpointError } from './errors.ts'
import { nearestNames } from './nearest-names.ts'
import {
  evictShards,
  lockShards,
  type PrefetchOptions,
  populateShards,
  type Residency,
  residencyOf,
} from './residency.ts'
import { adoptMemory, type Backing, type ShardMemory, type ShardMemoryShare } from './shard-memory.ts'
import { type TensorBytes, TensorView } from './tensor-view.ts'

/** What another thread of this process needs to adopt a checkpoint; survives structured cloning without copying. */
export interface CheckpointShare {
  readonly label: string
  readonly version: number | null
  readonly directory: SharedArrayBuffer
  readonly shards: readonly ShardMemoryShare[]
}

/** A newer version of an attached checkpoint, see `Checkpoint.followLatest`. */
export interface NewVersion {
  readonly checkpoint: string
  readonly version: number
}

/** Who handed a checkpoint out, and what it wants to hear of it: a client of a coordinator. */
export interface CheckpointOrigin {
  readonly version: number
  /** Called once, when the checkpoint is closed. */
  release(): void
  /** The newest version, or the given one when it is the newest. */
  latest(current: Checkpoint): Promise<Checkpoint>
}

/**
 * An open checkpoint. There are two ways to one: `openCheckpoint` reads files, `Checkpoint.adopt` takes what another
 * thread or process opened; both read the same memory and behave the same.
 *
 * Emits `version` when it is attached to a coordinator that has a newer one.
 */
export class Checkpoint extends EventEmitter<{ version: [NewVersion] }> implements Disposable {
  /** What messages call it: the folder or file it was opened from. */
  readonly label: string
  /** What its bytes are; see docs/memory-model.md. */
  readonly backing: Backing
  readonly #directory: Directory
  readonly #memory: readonly ShardMemory[]
  readonly #origin: CheckpointOrigin | null
  readonly #bytes: readonly TensorBytes[]
  readonly #views = new Map<string, TensorView>()
  #closed = false

  /** @internal Takes over the memory: `close()` closes it. */
  constructor(
    label: string,
    directory: Directory,
    memory: readonly ShardMemory[],
    origin: CheckpointOrigin | null = null,
  ) {
    super()
    this.label = label
    this.#origin = origin
    this.backing = memory[0]?.backing ?? 'file'
    this.#directory = directory
    this.#memory = memory
    this.#bytes = memory.map((shard) => ({
      sharesParts: shard instanceof FileMapping,
      buffer: (begin, end) => {
        this.#assertOpen()
        return shard.buffer(begin, end)
      },
      alignedCopy: (begin, end) => {
        this.#assertOpen()
        return shard instanceof FileMapping ? shard.alignedCopy(begin, end) : shard.buffer(begin, end)
      },
    }))
  }

  /**
   * The same checkpoint in another thread of the process that opened it; each side closes its own.
   * @param share what `share()` gave there
   * @throws SharedMemoryError MAPPING_CLOSED when it was closed before this call
   */
  static adopt(share: CheckpointShare): Checkpoint {
    const directory = new Directory(share.directory)
    const memory: ShardMemory[] = []
    try {
      for (const shard of share.shards) memory.push(adoptMemory(shard))
    } catch (error) {
      for (const shard of memory) shard.close()
      throw error
    }
    return new Checkpoint(
      share.label,
      directory,
      memory,
      share.version === null ? null : leasedElsewhere(share.version),
    )
  }

  /**
   * A checkpoint from mappings that another process made: the directory and every shard.
   * @throws CheckpointError DIRECTORY_INVALID when the directory is none, or does not describe these shards
   */
  static adoptMappings(
    label: string,
    directory: FileMapping,
    shards: readonly FileMapping[],
    origin: CheckpointOrigin | null = null,
  ): Checkpoint {
    const table = new Directory(directory.buffer(0, directory.byteLength))
    table.assertDescribes(shards.map(({ byteLength }) => byteLength))
    for (const [shard, mapping] of shards.entries()) mapping.describe(table.partTable(shard))
    return new Checkpoint(label, table, shards, origin)
  }

  /** The version that a coordinator gave it, or null when it was opened here. */
  get version(): number | null {
    return this.#origin?.version ?? null
  }

  /** Identifies the content by headers, file names and the state of the files: sha256 of the directory, in hex. */
  get fingerprint(): string {
    return this.#directory.fingerprint
  }

  /**
   * The newest version of an attached checkpoint: another Checkpoint, or this one when there is none newer. This one stays
   * open until `close()`, so the moment of the switch is the caller's.
   */
  async followLatest(): Promise<Checkpoint> {
    this.#assertOpen()
    return this.#origin === null ? this : this.#origin.latest(this)
  }

  /** Names of all tensors in file order: by shard, then by position. */
  get names(): readonly string[] {
    return this.#directory.names
  }

  /** Number of tensors. */
  get tensorCount(): number {
    return this.#directory.tensorCount
  }

  /** Sum of all tensors' bytes, without headers. */
  get byteLength(): number {
    return this.#directory.tensorBytes
  }

  get shards(): readonly ShardInfo[] {
    return this.#directory.shards
  }

  get closed(): boolean {
    return this.#closed
  }

  has(name: string): boolean {
    return this.#directory.find(name) >= 0
  }

  /**
   * One tensor. Asking twice gives the same view.
   * @throws CheckpointError TENSOR_NOT_FOUND with the nearest names, CHECKPOINT_CLOSED
   */
  tensor(name: string): TensorView {
    this.#assertOpen()
    const known = this.#views.get(name)
    if (known !== undefined) return known
    const { dtype, shape, shard, begin, end } = this.#directory.entry(this.#find(name))
    const bytes = this.#bytes[shard]!
    const view = new TensorView({ name, dtype, shape, bytes, begin, end, copied: false })
    this.#views.set(name, view)
    return view
  }

  /** All tensors in file order, one at a time. */
  *tensors(): Generator<TensorView, void> {
    for (const name of this.names) yield this.tensor(name)
  }

  /** Name of the shard file that holds a tensor, and the half-open range of its bytes there. */
  locate(name: string): { readonly shard: string; readonly begin: number; readonly end: number } {
    const { shard, begin, end } = this.#directory.entry(this.#find(name))
    return { shard: this.shards[shard]!.name, begin, end }
  }

  /**
   * Brings tensors into RAM and resolves when they are there; reads in file order, without blocking the event loop.
   * @throws CheckpointError TENSOR_NOT_FOUND, CHECKPOINT_CLOSED; SharedMemoryError RESIDENCY_FAILED; the signal's reason
   */
  async prefetch(options: PrefetchOptions = {}): Promise<Residency> {
    this.#assertOpen()
    await populateShards(this.#memory, this.#rangesOf(options.tensors), options)
    return this.residency()
  }

  /**
   * Brings tensors into RAM and keeps them there until the checkpoint is closed.
   * @throws SharedMemoryError LOCK_LIMIT; as `prefetch` otherwise
   */
  async lock(options: PrefetchOptions = {}): Promise<Residency> {
    this.#assertOpen()
    await lockShards(this.#memory, this.#rangesOf(options.tensors), options)
    return this.residency()
  }

  /** How much of the checkpoint is in RAM now. */
  residency(): Residency {
    this.#assertOpen()
    return residencyOf(this.#memory, this.#rangesOf(undefined))
  }

  /** Asks the kernel to drop the checkpoint from RAM, for measuring cold starts; `residency()` tells what came of it. */
  evict(): Residency {
    this.#assertOpen()
    evictShards(this.#memory)
    return this.residency()
  }

  /** What `Checkpoint.adopt` in another thread of this process takes. Keep this checkpoint open until it has. */
  share(): CheckpointShare {
    this.#assertOpen()
    const { label, version } = this
    return { label, version, directory: this.#directory.buffer, shards: this.#memory.map((shard) => shard.share()) }
  }

  /**
   * The descriptors behind the shards, for handing them to another process. They stay the checkpoint's.
   * @throws TypeError on heap backing, which no other process can share
   */
  descriptors(): readonly number[] {
    this.#assertOpen()
    return this.#memory.map((shard) => {
      if (shard instanceof FileMapping) return shard.descriptor
      throw new TypeError(`Checkpoint "${this.label}" has heap backing, which cannot be shared with other processes`)
    })
  }

  /** The directory as it lies in memory, see docs/architecture.md. */
  get directory(): SharedArrayBuffer {
    return this.#directory.buffer
  }

  /**
   * Gives the checkpoint up. Buffers that were taken from it stay readable, here and in other threads, and the memory is
   * unmapped when the last of them has been garbage-collected. Idempotent.
   */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#views.clear()
    for (const shard of this.#memory) shard.close()
    this.#origin?.release()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #find(name: string): number {
    const record = this.#directory.find(name)
    if (record >= 0) return record
    const candidates = nearestNames(name, this.names)
    const hint =
      candidates.length === 0 ? '' : `; nearest: ${candidates.map((candidate) => quoteName(candidate)).join(', ')}`
    const message = `Checkpoint "${this.label}" has no tensor ${quoteName(name)}${hint}`
    throw new CheckpointError('TENSOR_NOT_FOUND', message, { tensor: name, candidates })
  }

  /** For each shard the byte ranges of the tensors, in file order. */
  #rangesOf(tensors: Iterable<string> | undefined): ByteRange[][] {
    if (tensors === undefined) {
      return this.shards.map(({ dataOffset, byteLength }) => [{ begin: dataOffset, end: byteLength }])
    }
    const ranges: ByteRange[][] = this.#memory.map(() => [])
    for (const name of tensors) {
      const { shard, begin, end } = this.#directory.entry(this.#find(name))
      ranges[shard]!.push({ begin, end })
    }
    for (const shard of ranges) shard.sort((a, b) => a.begin - b.begin)
    return ranges
  }

  #assertOpen(): void {
    if (this.#closed) throw new CheckpointError('CHECKPOINT_CLOSED', `Checkpoint "${this.label}" was closed`)
  }
}

/** Of a thread that was handed an attached checkpoint: the lease is with whoever attached it, and so is the news. */
function leasedElsewhere(version: number): CheckpointOrigin {
  return { version, release: () => {}, latest: async (current) => current }
}
