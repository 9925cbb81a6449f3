import { readSync } from 'node:fs'
import {
  forEachCopy,
  HEADER_PREFIX_BYTES,
  type Header,
  parseHeader,
  readHeaderLength,
  serializeHeader,
  tensorByteLength,
} from '@onecopy/safetensors'
import {
  type AssembledSource,
  assembleSealed,
  type FileMapping,
  HeapCopy,
  type SealOptions,
} from '@onecopy/sharedarraybuffer-utils'
import { orTooLarge } from './element-arrays.ts'
import { groupBy } from './group-by.ts'
import type { GatheredPart } from './select-parts.ts'
import type { ShardMemory } from './shard-memory.ts'

/**
 * Memory that holds gathered parts, each of which is many runs of bytes in its file: a shard that was made here, in the
 * safetensors format, whose tensors are called by the parts' keys.
 */
export interface Arena {
  readonly memory: ShardMemory
  readonly byteLength: number
  readonly dataOffset: number // first byte behind the header
  readonly header: Header
}

/** Where gathered parts are taken from: an open file, or the one behind memory. */
export type ArenaSource = Omit<AssembledSource, 'runs'>

interface Layout {
  readonly head: Uint8Array
  readonly header: Header
  readonly dataOffset: number
  readonly byteLength: number
}

/** The serializer puts elements of many bytes first, so that all are aligned without the gaps that the format forbids. */
function layOut(parts: readonly GatheredPart[]): Layout {
  const specs = parts.map(({ key, dtype, slice }) => ({ name: key, dtype, shape: slice.shape }))
  const { bytes: head, layout, dataByteLength } = serializeHeader(specs)
  const tensors = new Map(
    specs.map(({ name, dtype, shape }) => [name, { dtype, shape, dataOffsets: layout.get(name)! }]),
  )
  const byteLength = head.byteLength + dataByteLength
  return { head, header: { tensors, metadata: null }, dataOffset: head.byteLength, byteLength }
}

/**
 * Gathers parts into sealed memory.
 * @param sourceOf where a part's bytes are read
 * @throws SharedMemoryError SEAL_FAILED, FILE_CHANGED; the signal's reason; nothing stays behind
 */
export async function gatherArena(
  label: string,
  parts: readonly GatheredPart[],
  sourceOf: (part: GatheredPart) => ArenaSource,
  options: Pick<SealOptions, 'signal' | 'onProgress'>,
): Promise<Arena> {
  const { head, header, dataOffset, byteLength } = layOut(parts)
  const sources = runsOf(parts, sourceOf, (key) => dataOffset + header.tensors.get(key)!.dataOffsets[0])
  const memory = await assembleSealed(`arena of ${label}`, byteLength, head, sources, options)
  return { memory, byteLength, dataOffset, header }
}

/** Parts of one tensor together, in the order of the file: its bytes are read once, whatever number of parts they go to. */
function* runsOf(
  parts: readonly GatheredPart[],
  sourceOf: (part: GatheredPart) => ArenaSource,
  placeOf: (key: string) => number,
): Generator<AssembledSource, void> {
  const tensors = groupBy(parts, ({ name }) => name)
  const inFileOrder = [...tensors.values()].sort(([a], [b]) => a!.shard - b!.shard || a!.begin - b!.begin)
  for (const same of inFileOrder) {
    let count = 0
    for (const { slice } of same) forEachCopy(slice, () => count++)
    const runs = new Float64Array(count * 3) // an ordinary array of more than 2^27 elements ends the process
    let at = 0
    for (const { key, slice, begin } of same) {
      const place = placeOf(key)
      forEachCopy(slice, (from, to, length) => {
        runs[at++] = begin + from
        runs[at++] = place + to
        runs[at++] = length
      })
    }
    yield { ...sourceOf(same[0]!), runs: inOrder(runs) }
  }
}

/** Sorted by the first of each three numbers; one box of one part is so already. */
function inOrder(runs: Float64Array): Float64Array {
  let sorted = true
  for (let at = 3; at < runs.length && sorted; at += 3) sorted = runs[at]! >= runs[at - 3]!
  if (sorted) return runs
  const order = Uint32Array.from({ length: runs.length / 3 }, (_, run) => run * 3)
  order.sort((a, b) => runs[a]! - runs[b]!)
  const result = new Float64Array(runs.length)
  for (const [to, from] of order.entries()) {
    for (let field = 0; field < 3; field++) result[to * 3 + field] = runs[from + field]!
  }
  return result
}

/**
 * Gathers parts into memory of this process, where there are no mappings.
 * @param gather writes a part's bytes
 */
export function gatherHeapArena(
  label: string,
  parts: readonly GatheredPart[],
  gather: (part: GatheredPart, target: Uint8Array) => void,
): Arena {
  const { header, dataOffset, byteLength } = layOut(parts)
  const buffers = new Map<number, SharedArrayBuffer>()
  for (const part of parts) {
    const gathered = new SharedArrayBuffer(part.slice.byteLength)
    gather(
      part,
      orTooLarge(part.name, `A part of ${gathered.byteLength} bytes`, () => new Uint8Array(gathered)),
    )
    buffers.set(dataOffset + header.tensors.get(part.key)!.dataOffsets[0], gathered)
  }
  return { memory: new HeapCopy(`arena of ${label}`, byteLength, buffers), byteLength, dataOffset, header }
}

/** Headers up to here are parsed as soon as an arena comes, in bytes: a millisecond or two. */
const PARSED_AT_ONCE = 64 * 1024

/**
 * An arena that another process or thread gathered. A long header is parsed when somebody asks for it: who only passes the memory on
 * does not.
 * @throws SafetensorsError when the memory is none
 */
export function readArena(memory: FileMapping): Arena {
  const { byteLength } = memory
  const prefix = readStart(memory, Math.min(HEADER_PREFIX_BYTES, byteLength))
  const dataOffset = HEADER_PREFIX_BYTES + readHeaderLength(prefix, byteLength)
  const parse = (): Header => {
    const json = readStart(memory, dataOffset).subarray(HEADER_PREFIX_BYTES)
    return parseHeader(json, byteLength - dataOffset)
  }
  let parsed = dataOffset <= PARSED_AT_ONCE ? parse() : null
  return {
    memory,
    byteLength,
    dataOffset,
    get header(): Header {
      parsed ??= parse()
      return parsed
    },
  }
}

/** Not by a buffer over the memory, which would keep it until a garbage collection. */
function readStart({ descriptor }: FileMapping, byteLength: number): Uint8Array {
  const bytes = new Uint8Array(byteLength)
  for (let done = 0; done < byteLength; ) {
    const got = readSync(descriptor.number, bytes, done, byteLength - done, done)
    if (got === 0) break // not with sealed memory
    done += got
  }
  return bytes
}

/** Whether an arena has a part, as the part is here. */
export function holdsPart({ header }: Arena, { key, dtype, slice }: GatheredPart): boolean {
  const info = header.tensors.get(key)
  if (info === undefined || info.dtype !== dtype) return false
  const same = info.shape.length === slice.shape.length && info.shape.every((size, at) => size === slice.shape[at])
  return same && tensorByteLength(dtype, info.shape) === slice.byteLength
}
