import { open, readFile } from 'node:fs/promises'
import { CommandError } from '../../errors.ts'
import type { PlainShard } from './subject.ts'

/** What one read takes: large enough for a disk, and a view that Node 20 allows. */
const PIECE_BYTES = 8 * 2 ** 20

/** Called when more of a file is there, with all of it so far in order. */
type OnMore = (pieces: readonly Uint8Array[]) => void

/** The whole file by `readFile`. */
export async function readWhole({ path }: PlainShard, onMore: OnMore): Promise<readonly Uint8Array[]> {
  const pieces = [await readFile(path)]
  onMore(pieces)
  return pieces
}

/** As much of the file as is wanted, piece by piece by `fs.read`, into one buffer. */
export async function readPieces({ path, end }: PlainShard, onMore: OnMore): Promise<readonly Uint8Array[]> {
  const file = await open(path)
  try {
    const buffer = new ArrayBuffer(end)
    const pieces: Uint8Array[] = []
    for (let at = 0; at < end; ) {
      const piece = new Uint8Array(buffer, at, Math.min(PIECE_BYTES, end - at))
      const { bytesRead } = await file.read(piece, 0, piece.length, at)
      if (bytesRead === 0) throw new CommandError('FILE_ENDED_EARLY', `"${path}" ended at byte ${at} while it was read`)
      pieces.push(piece.subarray(0, bytesRead))
      at += bytesRead
      onMore(pieces)
    }
    return pieces
  } finally {
    await file.close()
  }
}

/** Everything that is wanted of all files, in memory of its own. */
export async function readCopy(shards: readonly PlainShard[]): Promise<readonly (readonly Uint8Array[])[]> {
  const copies: (readonly Uint8Array[])[] = []
  for (const shard of shards) copies.push(await readPieces(shard, () => {}))
  return copies
}

/** Finds a tensor in what has been read of a file, as the format has it: a length, a header of JSON, the tensors. */
export class TensorSearch {
  readonly #name: string
  /** Where it is in the file; null when it is not in this one, undefined until the header is there. */
  #place: readonly [begin: number, end: number] | null | undefined

  constructor(name: string) {
    this.#name = name
  }

  /** Its bytes, as soon as all of them are there. */
  find(pieces: readonly Uint8Array[]): readonly Uint8Array[] | null {
    if (this.#place === undefined) this.#place = this.#locate(pieces)
    return this.#place ? slices(pieces, ...this.#place) : null
  }

  #locate(pieces: readonly Uint8Array[]): readonly [number, number] | null | undefined {
    const length = joined(pieces, 0, 8)
    if (length === null) return undefined
    const dataOffset = 8 + Number(length.readBigUInt64LE())
    const header = joined(pieces, 8, dataOffset)
    if (header === null) return undefined
    const offsets = JSON.parse(header.toString())[this.#name]?.data_offsets
    return offsets === undefined ? null : [dataOffset + offsets[0], dataOffset + offsets[1]]
  }
}

function joined(pieces: readonly Uint8Array[], begin: number, end: number): Buffer | null {
  const parts = slices(pieces, begin, end)
  return parts && Buffer.concat(parts)
}

/** A half-open range of what the pieces are together; null when they do not reach that far. */
function slices(pieces: readonly Uint8Array[], begin: number, end: number): Uint8Array[] | null {
  const found: Uint8Array[] = []
  let at = 0
  for (const piece of pieces) {
    const part = piece.subarray(Math.max(0, begin - at), Math.max(0, end - at))
    if (part.length > 0) found.push(part)
    at += piece.length
  }
  return at >= end ? found : null
}
