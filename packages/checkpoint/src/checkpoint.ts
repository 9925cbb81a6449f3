import { EventEmitter } from 'node:events'
import type { Selection } from '@onecopy/safetensors'
import { quoteName, type TensorIndex } from '@onecopy/safetensors/tensors'
import { adoptFileMapping, type Descriptor, FileMapping } from '@onecopy/sharedarraybuffer-utils/mapped'
import { adoptMemory } from './adopt-memory.ts'
import { allOrNone } from './all-or-none.ts'
import type { Arena } from './arena.ts'
import type { ArenaHold, ArenaSet, GatherOptions } from './arena-set.ts'
import { checkGathering, checkName, checkPrefetching, checkSelections, checkShare } from './check-calls.ts'
import { checkOptions, rules } from './check-options.ts'
import { type CheckpointOrigin, type FollowOptions, leasedElsewhere, type NewVersion } from './checkpoint-origin.ts'
import { readConfigBeside } from './config-file.ts'
import { Directory, type ShardInfo } from './directory.ts'
import { CheckpointError } from './errors.ts'
import type { Gathering } from './gathering.ts'
import { nearestNames } from './nearest-names.ts'
import {
  evictShards,
  lockShards,
  type PlacedRange,
  type PrefetchOptions,
  populateShards,
  type ReadStep,
  type Residency,
  readSteps,
  residencyOf,
} from './residency.ts'
import type { SelectedParts } from './select-parts.ts'
import { loadedSelectionTools, loadSelecting, requireSelectionTools, type SelectionTools } from './selecting.ts'
import type { Backing, ShardMemory, ShardMemoryShare } from './shard-memory.ts'
import { type TensorBytes, TensorView } from './tensor-view.ts'

/** What another thread of this process needs to adopt a checkpoint; survives structured cloning without copying. */
export interface CheckpointShare {
  readonly label: string
  readonly version: number | null
  readonly directory: SharedArrayBuffer
  readonly shards: readonly ShardMemoryShare[]
  readonly order: Uint32Array | null
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
  /** Records in the order of the selection that this checkpoint was narrowed to; null when it is whole. */
  readonly #order: Uint32Array | null
  #config: Readonly<Record<string, unknown>> | null | undefined
  /** Made with the first part. */
  #arenas: ArenaSet | null = null
  #gathering: Gathering | null = null
  readonly #bytes: readonly TensorBytes[]
  readonly #views = new Map<string, TensorView>()
  #closed = false

  /** @internal Takes over the memory: `close()` closes it. */
  constructor(
    label: string,
    directory: Directory,
    memory: readonly ShardMemory[],
    origin: CheckpointOrigin | null = null,
    order: Uint32Array | null = null,
  ) {
    super()
    this.label = label
    this.#origin = origin
    this.#order = order
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
    checkShare(share)
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
      share.order,
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

  /** Where every tensor is: what a placement is planned from. */
  get index(): TensorIndex {
    return this.#directory.index
  }

  /** Identifies the headers, whatever the values and wherever the files are: sha256 of `layoutText(index)`, in hex. */
  get layout(): string {
    return this.#directory.layout
  }

  /** The version that a coordinator gave it, or null when it was opened here. */
  get version(): number | null {
    return this.#origin?.version ?? null
  }

  /** Identifies the content by headers, file names and the state of the files: sha256 of the directory, in hex. */
  get fingerprint(): string {
    return this.#directory.fingerprint
  }

  /** The same, for processes that serve others: it is made in turns with whatever else there is to do. */
  async computeFingerprint(): Promise<string> {
    return this.#directory.computeFingerprint()
  }

  /**
   * The newest version of an attached checkpoint: another Checkpoint, or this one when there is none newer. This one stays
   * open until `close()`, so the moment of the switch is the caller's. A name that was retired has no newer one. A coordinator
   * that has restarted is waited for until it has published the name again.
   * @throws CoordinatorError as `attach` does, COORDINATOR_TIMEOUT; the signal's reason
   */
  async followLatest(options: FollowOptions = {}): Promise<Checkpoint> {
    checkOptions('followLatest()', options, { signal: rules.signal, timeoutMs: rules.wholeNumber(1) })
    this.#assertOpen()
    return this.#origin === null ? this : this.#origin.latest(this, options)
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

  /**
   * The model's `config.json` beside the first shard, read once; null where there is none, and for an attached checkpoint.
   * @throws CheckpointError CONFIG_INVALID when it is there, but is no JSON object of at most 16 MiB
   */
  get config(): Readonly<Record<string, unknown>> | null {
    const path = this.version === null ? this.shards[0]?.path : ''
    this.#config ??= path ? readConfigBeside(path) : null
    return this.#config
  }

  get closed(): boolean {
    return this.#closed
  }

  has(name: string): boolean {
    checkName(name)
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
   * This checkpoint restricted to a selection: the same names, with the shapes of the selected parts. Parts that are one run
   * of bytes are read where they lie; all others are gathered into an arena, once for everybody who selects them from this
   * checkpoint, and nothing else is read. Each closes by itself.
   * @throws SafetensorsError SAFETENSORS_INVALID_SELECTION, SAFETENSORS_INVALID_SLICE, SAFETENSORS_MISALIGNED_SLICE
   * @throws CheckpointError SELECTION_OTHER_CHECKPOINT, CHECKPOINT_CLOSED; SharedMemoryError SEAL_FAILED, FILE_CHANGED
   */
  async select(selection: Selection, options: GatherOptions = {}): Promise<Checkpoint> {
    checkGathering('select()', options)
    const tools = loadedSelectionTools() ?? (await loadSelecting())
    const parts = this.#partsOf(tools, selection)
    return (await this.#origin?.select?.(selection, options)) ?? this.#selectParts(tools, parts, selection, options)
  }

  /** A part that is made here, in this process. */
  async #selectParts(
    tools: SelectionTools,
    parts: SelectedParts,
    selection: Selection,
    options: GatherOptions,
  ): Promise<Checkpoint> {
    const { arenas, release } = await this.#arenaSet(tools).hold(parts.gathered, options)
    try {
      const news = (version: NewVersion): void => void selected.emit('version', version)
      const origin: CheckpointOrigin = {
        version: this.version,
        release: () => {
          this.off('version', news)
          release()
        },
        latest: (current, following) => this.#latestSelected(current, selection, following),
      }
      const selected = this.#narrow(tools, parts, arenas, (arena) => adoptMemory(arena.memory.share()), origin)
      if (this.#origin !== null) {
        this.setMaxListeners(0) // one for each part, however many there are
        this.on('version', news)
      }
      return selected
    } catch (error) {
      release()
      throw error
    }
  }

  /**
   * As `select` for each of several selections, such as those of all workers of a plan on this host, with one pass over the
   * bytes that are gathered. All or none.
   */
  async selectAll(selections: readonly Selection[], options: GatherOptions = {}): Promise<Checkpoint[]> {
    checkSelections(selections, options)
    // Whoever handed this checkpoint out gathers for all processes; it is asked for each part.
    if (this.#origin?.select) return allOrNone(selections.map((selection) => this.select(selection, options)))
    const tools = loadedSelectionTools() ?? (await loadSelecting())
    const parts = selections.map((selection) => ({ selection, parts: this.#partsOf(tools, selection) }))
    const gathered = parts.flatMap((each) => each.parts.gathered)
    const together = await this.#arenaSet(tools).hold(gathered, options)
    try {
      return await allOrNone(parts.map((each) => this.#selectParts(tools, each.parts, each.selection, options)))
    } finally {
      together.release()
    }
  }

  /**
   * The arenas that a selection needs, for handing them to another process, which passes them to `selectWith`.
   * @param selection as JSON, from somebody else: what it says is worked out in a thread of its own, one after the other, since a
   * few bytes can ask for seconds of work
   * @throws as `select` does; SyntaxError for what is no JSON
   */
  async holdArenas(selection: Selection | string, options: GatherOptions = {}): Promise<ArenaHold> {
    const tools = loadedSelectionTools() ?? (await loadSelecting())
    const arenas = this.#arenaSet(tools)
    if (typeof selection !== 'string') return arenas.hold(this.#partsOf(tools, selection).gathered, options)
    this.#assertOpen()
    this.#gathering ??= new tools.Gathering(this.label, this.#directory.buffer, this.#memory)
    const gathering = this.#gathering
    return arenas.holdFound((held, reserve) => gathering.find(selection, held, reserve, options.signal), options)
  }

  /**
   * Takes in arenas that another process gathered from this checkpoint, and holds them. As with `selectWith`, what that needs must
   * be loaded.
   * @throws SafetensorsError when a mapping is no arena
   */
  adoptArenas(mappings: readonly FileMapping[]): ArenaHold {
    this.#assertOpen()
    const tools = requireSelectionTools()
    return this.#arenaSet(tools).adopt(mappings.map(tools.readArena))
  }

  /**
   * As `select`, with arenas that another process gathered. The arenas stay the caller's. Whoever came by the light entry waits
   * for `loadSelecting` before.
   * @throws CheckpointError PART_MISSING when they lack a part
   */
  selectWith(selection: Selection, arenas: readonly FileMapping[], origin: CheckpointOrigin): Checkpoint {
    const take = ({ memory }: Arena): ShardMemory => adoptFileMapping((memory as FileMapping).share())
    const tools = requireSelectionTools()
    return this.#narrow(tools, this.#partsOf(tools, selection), arenas.map(tools.readArena), take, origin)
  }

  /** Bytes of memory of the arenas that are held; they come beside the checkpoint's own. */
  get arenaBytes(): number {
    return this.#arenas?.byteLength ?? 0
  }

  #arenaSet({ ArenaSet, gatherFromMemory }: SelectionTools): ArenaSet {
    if (this.#arenas === null) {
      this.#arenas = new ArenaSet((parts, options) => gatherFromMemory(this.label, this.#memory, parts, options))
      if (this.#closed) this.#arenas.close()
    }
    return this.#arenas
  }

  #partsOf({ selectParts }: SelectionTools, selection: Selection): SelectedParts {
    this.#assertOpen()
    return selectParts(this.#directory, selection, this.label, this.backing !== 'heap')
  }

  #narrow(
    { narrow }: SelectionTools,
    parts: SelectedParts,
    arenas: readonly Arena[],
    takeArena: (arena: Arena) => ShardMemory,
    origin: CheckpointOrigin,
  ): Checkpoint {
    this.#assertOpen()
    const takeShard = (shard: number): ShardMemory => adoptMemory(this.#memory[shard]!.share())
    const { directory, memory, order } = narrow(this.shards, parts, arenas, takeShard, takeArena)
    return new Checkpoint(this.label, directory, memory, origin, order)
  }

  async #latestSelected(current: Checkpoint, selection: Selection, options: FollowOptions): Promise<Checkpoint> {
    // Also when this one was closed: each closes by itself.
    const newest = await this.#origin?.latest(this, options)
    if (newest === undefined || newest === this) return current
    try {
      return await newest.select(selection, options)
    } finally {
      newest.close()
    }
  }

  /**
   * Brings tensors into RAM, without blocking the event loop, and resolves with how much of them is there. Reads in file
   * order; what a selection is made of, in the order of the selection.
   * @throws CheckpointError TENSOR_NOT_FOUND, CHECKPOINT_CLOSED; SharedMemoryError RESIDENCY_FAILED; the signal's reason
   */
  async prefetch(options: PrefetchOptions = {}): Promise<Residency> {
    checkPrefetching('prefetch()', options)
    this.#assertOpen()
    const steps = this.#stepsOf(options)
    await populateShards(this.#memory, steps, options)
    this.#assertOpen()
    return residencyOf(this.#memory, steps)
  }

  /**
   * Brings tensors into RAM and keeps them there until the checkpoint is closed.
   * @throws SharedMemoryError LOCK_LIMIT; as `prefetch` otherwise
   */
  async lock(options: PrefetchOptions = {}): Promise<Residency> {
    checkPrefetching('lock()', options)
    this.#assertOpen()
    const steps = this.#stepsOf(options)
    await lockShards(this.#memory, steps, options)
    this.#assertOpen()
    return residencyOf(this.#memory, steps)
  }

  /** How much of the checkpoint is in RAM now. */
  residency(): Residency {
    this.#assertOpen()
    return residencyOf(this.#memory, this.#stepsOf({ maxGapBytes: 0 }))
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
    const shards = this.#memory.map((shard) => shard.share())
    return { label, version, directory: this.#directory.buffer, shards, order: this.#order }
  }

  /**
   * The descriptors behind the shards, for handing them to another process. They stay the checkpoint's.
   * @throws TypeError on heap backing, which no other process can share
   */
  descriptors(): readonly Descriptor[] {
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
    this.#arenas?.close()
    this.#gathering?.close()
    this.#origin?.release()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #find(name: string): number {
    checkName(name)
    const record = this.#directory.find(name)
    if (record >= 0) return record
    const candidates = nearestNames(name, this.names)
    const hint =
      candidates.length === 0 ? '' : `; nearest: ${candidates.map((candidate) => quoteName(candidate)).join(', ')}`
    const message = `Checkpoint "${this.label}" has no tensor ${quoteName(name)}${hint}`
    throw new CheckpointError('TENSOR_NOT_FOUND', message, { tensor: name, candidates })
  }

  /** What is read, in which order. */
  #stepsOf({ tensors, maxGapBytes }: PrefetchOptions): ReadStep[] {
    const placeOf = (record: number): PlacedRange => this.#directory.entry(record)
    if (tensors !== undefined) {
      const ranges = Array.from(tensors, (name) => placeOf(this.#find(name)))
      return readSteps(
        ranges.sort((a, b) => a.shard - b.shard || a.begin - b.begin),
        maxGapBytes,
      )
    }
    if (this.#order !== null) return readSteps(Array.from(this.#order, placeOf), maxGapBytes)
    const wholes = this.shards.map(({ dataOffset, byteLength }, shard) => ({
      shard,
      begin: dataOffset,
      end: byteLength,
    }))
    return readSteps(wholes, maxGapBytes)
  }

  #assertOpen(): void {
    if (this.#closed) throw new CheckpointError('CHECKPOINT_CLOSED', `Checkpoint "${this.label}" was closed`)
  }
}
