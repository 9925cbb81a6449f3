import { adoptFileMapping, type FileMappingShare, residentBytes } from '@onecopy/sharedarraybuffer-utils'
import { Turns } from './turns.ts'
import type { LoadedMemory, Version } from './version.ts'

/** What is looked at in one go, in bytes: the kernel needs a fraction of a millisecond for it. */
const WINDOW_BYTES = 2 ** 20

/** Windows of one version that are looked at: what is smaller is measured, of what is larger samples are taken. */
const MAX_WINDOWS = 1024

/** How long a measurement stands for those who ask again, in milliseconds. */
const FRESH_MS = 1000

interface Measurement {
  readonly at: number
  readonly residentBytes: Promise<number | null>
}

/** Measures how much of versions is in RAM, in small steps that hold nobody up, and once for all who ask at a time. */
export class ResidencyMeter {
  readonly #known = new WeakMap<LoadedMemory, Measurement>()

  /** Bytes of tensors that are in RAM; null for what is not loaded, and where the kernel does not tell. */
  async residentBytes({ memory }: Version): Promise<number | null> {
    if (memory === null) return null
    const known = this.#known.get(memory)
    if (known !== undefined && performance.now() - known.at < FRESH_MS) return known.residentBytes
    const measured = { at: performance.now(), residentBytes: measure(memory) }
    this.#known.set(memory, measured)
    return measured.residentBytes
  }
}

async function measure({ checkpoint }: LoadedMemory): Promise<number | null> {
  const totalBytes = checkpoint.shards.reduce((sum, { byteLength, dataOffset }) => sum + byteLength - dataOffset, 0)
  const strideBytes = Math.max(WINDOW_BYTES, totalBytes / MAX_WINDOWS)
  const turns = new Turns()
  let sum = 0
  for (const [at, { dataOffset, byteLength }] of checkpoint.shards.entries()) {
    // Closed meanwhile: then nobody wants to know any more.
    if (checkpoint.closed) return null
    const share = checkpoint.share().shards[at] as FileMappingShare
    using mapping = adoptFileMapping(share)
    let seen = 0
    let resident = 0
    for (let begin = dataOffset; begin < byteLength; begin += strideBytes) {
      await turns.pause()
      const from = Math.floor(begin)
      const end = Math.min(from + WINDOW_BYTES, byteLength)
      const bytes = residentBytes(mapping, { begin: from, end })
      if (bytes === null) return null
      seen += end - from
      resident += bytes
    }
    if (seen > 0) sum += Math.round((resident / seen) * (byteLength - dataOffset))
  }
  return sum
}
