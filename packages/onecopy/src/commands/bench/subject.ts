import { type Checkpoint, openCheckpoint, type Selection } from '@onecopy/checkpoint'
import { CommandError } from '../../errors.ts'
import type { Source } from '../../option-values.ts'
import { formatBytes } from '../../terminal/units.ts'

/** Which checkpoint is measured, and how much of it. */
export interface SubjectOptions {
  readonly limit?: number // bytes
  readonly variant?: string
  readonly prefer?: 'index' | 'single'
}

/** A shard as the plain rivals read it. */
export interface PlainShard {
  readonly path: string
  /** The end of the last tensor that is read. */
  readonly end: number // exclusive, bytes of the file
  /** Whether that is the end of the file too. */
  readonly whole: boolean
}

/** What is measured. */
export interface Subject {
  /** Mapped files, for looking at their pages and evicting them; nothing of them is ever touched by this process. */
  readonly checkpoint: Checkpoint
  /** What opens the same files again, whichever of several in a folder they are. */
  readonly source: string | readonly string[]
  /** What trials open; null for everything. */
  readonly selection: Selection | null
  readonly wholeByteLength: number
  readonly wholeTensorCount: number
  readonly shards: readonly PlainShard[]
  readonly firstTensor: { readonly name: string; readonly byteLength: number }
}

/**
 * Opens the checkpoint, or with a limit its first tensors, as many as have no more bytes together.
 * @throws CommandError BENCH_NO_BYTES, BENCH_LIMIT_TOO_SMALL; SharedMemoryError ADDON_UNAVAILABLE; as openCheckpoint
 */
export async function openSubject(given: Source, { limit, variant, prefer }: SubjectOptions): Promise<Subject> {
  const locate = { ...(variant && { variant }), ...(prefer && { prefer }) }
  const whole = await openCheckpoint(given, { ...locate, backing: 'file' })
  try {
    const first = firstWithBytes(whole)
    const { byteLength: wholeByteLength, tensorCount: wholeTensorCount } = whole
    const paths = whole.shards.map(({ path }) => path)
    const source = whole.label.endsWith('.json') ? whole.label : paths
    const names = limit === undefined || limit >= wholeByteLength ? whole.names : namesWithin(whole, limit, first)
    const selection = names.length === whole.names.length ? null : { tensors: names.map((name) => ({ name })) }
    const shards = plainShards(whole, names)
    const checkpoint = selection === null ? whole : await whole.select(selection)
    if (checkpoint !== whole) whole.close()
    return { checkpoint, source, selection, wholeByteLength, wholeTensorCount, shards, firstTensor: first }
  } catch (error) {
    whole.close()
    throw error
  }
}

function firstWithBytes(checkpoint: Checkpoint): Subject['firstTensor'] {
  for (const { name, byteLength } of checkpoint.tensors()) if (byteLength > 0) return { name, byteLength }
  throw new CommandError('BENCH_NO_BYTES', `Nothing to measure: the tensors of "${checkpoint.label}" have no bytes`)
}

function namesWithin(checkpoint: Checkpoint, limit: number, first: Subject['firstTensor']): readonly string[] {
  if (first.byteLength > limit) {
    const message = `--limit is ${formatBytes(limit)}, and the first tensor alone has ${formatBytes(first.byteLength)}; it must be at least that`
    throw new CommandError('BENCH_LIMIT_TOO_SMALL', message)
  }
  let bytes = 0
  const beyond = checkpoint.names.findIndex((name) => {
    const { begin, end } = checkpoint.locate(name)
    bytes += end - begin
    return bytes > limit
  })
  return beyond === -1 ? checkpoint.names : checkpoint.names.slice(0, beyond)
}

/** How far each shard is read: tensors are selected in file order. */
function plainShards(checkpoint: Checkpoint, names: readonly string[]): PlainShard[] {
  const ends = new Map<string, number>()
  for (const name of names) {
    const { shard, begin, end } = checkpoint.locate(name)
    if (end > begin) ends.set(shard, Math.max(end, ends.get(shard) ?? 0))
  }
  return checkpoint.shards.flatMap(({ name, path, byteLength }) => {
    const end = ends.get(name)
    return end === undefined ? [] : [{ path, end, whole: end === byteLength }]
  })
}
