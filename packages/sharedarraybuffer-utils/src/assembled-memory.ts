import { requireAddon } from './addon.ts'
import { closeDescriptors, type Descriptor, reopen } from './descriptor.ts'
import { type FileMapping, requireRange } from './mapping.ts'
import { createMemory, explainCopy, mapSealed, runCopies, type SealOptions, writeStart } from './sealed-memory.ts'

/** What one job copies: enough to keep a thread busy, little enough for progress and abort. */
const JOB_BYTES = 16 * 2 ** 20
const JOB_RUNS = 2 ** 16

/** Bytes that go from an open file into memory. */
export interface AssembledSource {
  /** The file, which stays the caller's. */
  readonly descriptor: Descriptor
  /** How messages name it. */
  readonly path: string
  readonly byteLength: number
  /** Whether the file's pages are dropped from RAM behind the copy, unless others have them mapped. */
  readonly dropBehind: boolean
  /** Three numbers for each run of bytes: its place in the file, its place in the memory, its length. In order of the file. */
  readonly runs: Float64Array
}

/**
 * Makes sealed memory of pieces of files, gathered without blocking the event loop. Only the runs are read, and what lies on
 * the same pages.
 * @param label how messages name the memory
 * @param head goes to its beginning
 * @param sources are asked for one after the other, as the copying goes on
 * @throws SharedMemoryError SEAL_FAILED (no memory, a read error), FILE_CHANGED when a file is shorter than it was,
 * RANGE_OUT_OF_BOUNDS for a run outside its file or the memory; nothing stays behind
 */
export async function assembleSealed(
  label: string,
  byteLength: number,
  head: Uint8Array,
  sources: Iterable<AssembledSource>,
  options: Pick<SealOptions, 'signal' | 'onProgress'> = {},
): Promise<FileMapping> {
  using memory = createMemory(label, byteLength)
  const readers = new Map<Descriptor, Descriptor>()
  try {
    writeStart(memory, head, label)
    await runCopies(jobsOf(sources, label, byteLength), options, async ({ source, runs, byteLength: jobBytes }) => {
      const { descriptor } = source
      if (!readers.has(descriptor)) readers.set(descriptor, openForScattered(descriptor))
      await requireAddon()
        .copyRuns(memory.handle, readers.get(descriptor)!.handle, runs, source.dropBehind)
        .catch((error) => {
          throw explainCopy(error, source.path, source.byteLength)
        })
      return jobBytes
    })
    return mapSealed(memory, label, byteLength)
  } finally {
    closeDescriptors(readers.values())
  }
}

/**
 * An open file of our own, so that reading it ahead can be switched off: most of what lies between the runs is not wanted.
 * A file that came from another user, and that this one may not open, is read ahead.
 */
function openForScattered(descriptor: Descriptor): Descriptor {
  const reader = reopen(descriptor)
  if (reader === null) return descriptor.share()
  try {
    requireAddon().expectScattered(reader.handle)
  } catch {
    // Advice: the bytes are the same without it.
  }
  return reader
}

interface Job {
  readonly source: AssembledSource
  readonly runs: Float64Array
  readonly byteLength: number
}

function* jobsOf(sources: Iterable<AssembledSource>, label: string, memoryBytes: number): Generator<Job, void> {
  for (const source of sources) {
    const { runs } = source
    requireRuns(source, label, memoryBytes)
    let begin = 0
    let byteLength = 0
    for (let at = 0; at < runs.length; at += 3) {
      byteLength += runs[at + 2]!
      const full = byteLength >= JOB_BYTES || at + 3 - begin >= JOB_RUNS * 3
      if (!full && at + 3 < runs.length) continue
      yield { source, runs: runs.subarray(begin, at + 3), byteLength }
      begin = at + 3
      byteLength = 0
    }
  }
}

/** Native code copies without a check of its own. */
function requireRuns({ runs, path, byteLength }: AssembledSource, label: string, memoryBytes: number): void {
  if (runs.length % 3 !== 0)
    throw new TypeError(`The runs of "${path}" have ${runs.length} numbers, not three for each`)
  let before = 0
  for (let at = 0; at < runs.length; at += 3) {
    const from = runs[at]!
    const to = runs[at + 1]!
    const length = runs[at + 2]!
    requireRange({ begin: from, end: from + length }, path, byteLength)
    requireRange({ begin: to, end: to + length }, label, memoryBytes)
    if (from < before)
      throw new TypeError(`The runs of "${path}" go from byte ${before} back to ${from}; they must rise`)
    before = from
  }
}
