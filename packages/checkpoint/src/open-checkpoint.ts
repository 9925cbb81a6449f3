import { checkArgument, checkOptions, rules, type Selection } from '@onecopy/safetensors'
import { type ByteRange, FileMapping } from '@onecopy/sharedarraybuffer-utils'
import { Checkpoint } from './checkpoint.ts'
import type { Directory } from './directory.ts'
import { assertNoneLeftOut } from './left-out.ts'
import { type CheckpointSource, type LocateOptions, locateFiles } from './locate-files.ts'
import { openSelected } from './open-selected.ts'
import { closeShards, type OpenShard } from './open-shard.ts'
import { assertIndexUnchanged } from './read-index.ts'
import { type ReadFiles, readQuickly } from './read-quickly.ts'
import { readStrictly } from './read-strictly.ts'
import {
  type Backing,
  backingsFor,
  isUnmappable,
  type ReadOptions,
  type ShardMemory,
  takeMemory,
  warnOnce,
} from './shard-memory.ts'
import { assertOneSave } from './unfinished-save.ts'

/** How a checkpoint's pages come into RAM. */
export type ResidencyPolicy = 'lazy' | 'populate' | 'lock'

/** Options of `openCheckpoint`. */
export interface OpenOptions extends LocateOptions, ReadOptions {
  /**
   * What the bytes are: `file` maps the files (the page cache, shared with all processes), `sealed` copies them into
   * memory that nobody can change any more (a coordinator hands it to other processes), `heap` reads them into this
   * process's memory, shared by its threads. `auto` is `file` where the machine and the file system can, else `sealed` or
   * `heap` with a warning. @default `auto`
   */
  readonly backing?: Backing | 'auto'
  /**
   * `lazy` reads nothing until it is touched, `populate` resolves when everything is in RAM, `lock` also keeps it there.
   * @default `lazy`
   */
  readonly residency?: ResidencyPolicy
  /** Opens only this part, see `Checkpoint.select`: all headers are read, and nothing else of what is not selected. */
  readonly selection?: Selection
}

/**
 * Opens a checkpoint: finds its files, reads and validates all headers, compares them with the index, and maps the
 * shards. No tensor is read. Everything is checked before anything is mapped, and a failure leaves nothing open.
 * @param source a `.safetensors` file, a folder, a shard index, a list of shards, or `hf:org/name[@revision]`
 * @throws CheckpointError, SafetensorsError (a file's content), SharedMemoryError (mapping); see docs/errors.md
 */
export async function openCheckpoint(source: CheckpointSource, options: OpenOptions = {}): Promise<Checkpoint> {
  checkOpening(source, options)
  options.signal?.throwIfAborted()
  const checkpoint = await open(source, options, take)
  const { signal, onProgress, residency = 'lazy' } = options
  try {
    signal?.throwIfAborted()
    const progress = { ...(onProgress && { onProgress }), ...(signal && { signal }) }
    if (residency === 'populate') await checkpoint.prefetch(progress)
    if (residency === 'lock') await checkpoint.lock(progress)
  } catch (error) {
    checkpoint.close()
    throw error
  }
  return checkpoint
}

/**
 * A checkpoint of headers alone, for whoever wants to know what there is: all is read and checked as `openCheckpoint` does, and
 * nothing is mapped. No tensor can be read.
 */
export async function openHeaders(source: CheckpointSource, options: LocateOptions = {}): Promise<Checkpoint> {
  checkArgument('The source of openHeaders()', source, SOURCE)
  checkOptions('openHeaders()', options, LOCATING)
  return open(source, options, async (label, { directory, shards }) => {
    const nothing = await takeMemory(shards, { backing: 'heap', rangesOf: () => [] })
    return new Checkpoint(label, directory, nothing)
  })
}

type Take = (label: string, read: ReadFiles, options: OpenOptions) => Promise<Checkpoint>

async function open(source: CheckpointSource, options: OpenOptions, takeFrom: Take): Promise<Checkpoint> {
  const { signal } = options
  const { label, read } = await readFiles(source, options).catch(async (error) => {
    // A process that can open no more files can load none.
    const explaining = await import('./diagnose/explain-error.ts').catch(() => null)
    throw explaining === null ? error : await explaining.explainError(error)
  })
  let checkpoint: Checkpoint
  try {
    signal?.throwIfAborted()
    checkpoint = await takeFrom(label, read, options)
  } finally {
    closeShards(read.shards)
  }
  try {
    if (read.index !== null) await assertIndexUnchanged(read.index)
    else if (read.shards.length > 1) await assertOneSave(read.shards)
    return checkpoint
  } catch (error) {
    checkpoint.close()
    throw error
  }
}

async function readFiles(source: CheckpointSource, options: OpenOptions): Promise<{ label: string; read: ReadFiles }> {
  const files = await locateFiles(source, options)
  const read = (await readQuickly(files, options.signal)) ?? (await readStrictly(files, options.signal))
  if (!('indexPath' in files)) return { label: files.label, read }
  try {
    const names = read.shards.map(({ name }) => name)
    assertNoneLeftOut(files.indexPath, names, files.beside)
    return { label: files.label, read }
  } catch (error) {
    closeShards(read.shards)
    throw error
  }
}

/** Each shape of a source, and what it may not be; whether there is a checkpoint is found out by looking. */
const SOURCE = {
  must: 'a path, a URL, hf:org/name, or a list of the paths of shards',
  isKind: (value: unknown) =>
    typeof value === 'string' || value instanceof URL || rules.listOf(rules.text).isKind(value),
}

const LOCATING = { variant: rules.text, prefer: rules.oneOf('index', 'single') }

function checkOpening(source: unknown, options: unknown): void {
  checkArgument('The source of openCheckpoint()', source, SOURCE)
  checkOptions('openCheckpoint()', options, {
    backing: rules.oneOf('auto', 'file', 'sealed', 'heap'),
    residency: rules.oneOf('lazy', 'populate', 'lock'),
    selection: null, // resolveSelection
    ...LOCATING,
    onProgress: rules.callback,
    signal: rules.signal,
  })
}

async function take(label: string, read: ReadFiles, options: OpenOptions): Promise<Checkpoint> {
  const [backing, other] = backingsFor(options.backing ?? 'auto')
  try {
    return await takeInto(backing, label, read, options)
  } catch (error) {
    if (other === undefined || !isUnmappable(error)) throw error
    const what = other === 'sealed' ? 'sealed memory' : "this process's own memory"
    const bytes = `${read.directory.tensorBytes} bytes of tensors`
    warnOnce('ONECOPY_NO_MMAP', `The file system of "${error.path}" cannot map files: ${bytes} are copied into ${what}`)
    return takeInto(other, label, read, options)
  }
}

async function takeInto(
  backing: Backing,
  label: string,
  { directory, shards }: ReadFiles,
  { selection, signal, onProgress }: OpenOptions,
): Promise<Checkpoint> {
  const reading = { ...(onProgress && { onProgress }), ...(signal && { signal }) }
  if (selection !== undefined && backing !== 'file') {
    return openSelected(label, directory, shards, selection, { ...reading, backing })
  }
  const rangesOf = (shard: OpenShard): readonly ByteRange[] => directory.tensorRanges(shards.indexOf(shard))
  const memory = await takeMemory(shards, { ...reading, ...(backing === 'heap' ? { backing, rangesOf } : { backing }) })
  describeParts(directory, memory)
  const whole = new Checkpoint(label, directory, memory)
  if (selection === undefined) return whole
  try {
    return await whole.select(selection, signal && { signal })
  } finally {
    whole.close()
  }
}

/** Lets the report of a stray write name the tensor; see docs/memory-model.md. */
function describeParts(directory: Directory, memory: readonly ShardMemory[]): void {
  for (const [shard, mapping] of memory.entries()) {
    if (mapping instanceof FileMapping) mapping.describe(directory.partTable(shard))
  }
}
