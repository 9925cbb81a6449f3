import { createHash, type Hash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import { type Checkpoint, type HubBlob, hubBlobOf, type ShardInfo } from '@onecopy/checkpoint'
import { CommandError } from '../errors.ts'

/** One read of a file that is hashed for itself. */
const READ_BYTES = 4 * 2 ** 20

/**
 * Compares whole files with what the Hugging Face cache calls them, while their tensors are read for something else: a shard is
 * its header and then its tensors, without a gap.
 */
export class BlobCheck {
  readonly #blobs: readonly (HubBlob | null)[]
  readonly #shards: readonly ShardInfo[]
  #shard = -1
  #tensorsLeft = 0
  #hash: Hash | null = null

  private constructor(shards: readonly ShardInfo[], blobs: readonly (HubBlob | null)[]) {
    this.#shards = shards
    this.#blobs = blobs
  }

  static async of({ shards }: Checkpoint): Promise<BlobCheck> {
    return new BlobCheck(shards, await Promise.all(shards.map(({ path }) => hubBlobOf(path))))
  }

  /** How many of the files have a name that says what must be in them. */
  get fileCount(): number {
    return this.#blobs.filter((blob) => blob !== null).length
  }

  /**
   * Begins the next tensor, in file order.
   * @throws CommandError BLOB_DAMAGED for a file that ended with the tensor before
   */
  async nextTensor(): Promise<void> {
    while (this.#tensorsLeft === 0 && this.#shard < this.#shards.length) await this.#nextShard()
    this.#tensorsLeft--
  }

  update(piece: Uint8Array): void {
    this.#hash?.update(piece)
  }

  /** @throws CommandError BLOB_DAMAGED */
  async end(): Promise<void> {
    while (this.#shard < this.#shards.length) await this.#nextShard()
  }

  async #nextShard(): Promise<void> {
    const blob = this.#blobs[this.#shard] ?? null
    if (this.#hash !== null && blob !== null) assertSame(this.#shards[this.#shard]!.path, blob, this.#hash)
    this.#hash = null
    this.#shard++
    const shard = this.#shards[this.#shard]
    const wanted = this.#blobs[this.#shard] ?? null
    if (shard === undefined) return
    this.#tensorsLeft = shard.tensorCount
    if (wanted === null) return
    const hash = hashFor(wanted, shard.byteLength)
    const file = await open(shard.path)
    try {
      await readInto(hash, file, shard.dataOffset)
    } finally {
      await file.close()
    }
    this.#hash = hash
  }
}

/**
 * Compares a small file with what the Hugging Face cache calls it.
 * @throws CommandError BLOB_DAMAGED
 */
export async function checkBlob(path: string): Promise<void> {
  const blob = await hubBlobOf(path)
  if (blob === null) return
  const file = await open(path)
  try {
    const { size } = await file.stat()
    const hash = hashFor(blob, size)
    await readInto(hash, file, size)
    assertSame(path, blob, hash)
  } finally {
    await file.close()
  }
}

function hashFor({ algorithm }: HubBlob, byteLength: number): Hash {
  const hash = createHash(algorithm)
  return algorithm === 'sha1' ? hash.update(`blob ${byteLength}\0`) : hash
}

async function readInto(hash: Hash, file: FileHandle, byteLength: number): Promise<void> {
  const buffer = new Uint8Array(Math.min(READ_BYTES, byteLength))
  for (let at = 0; at < byteLength; ) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.byteLength, byteLength - at), at)
    if (bytesRead === 0) return
    hash.update(buffer.subarray(0, bytesRead))
    at += bytesRead
  }
}

function assertSame(path: string, { algorithm, digest, command }: HubBlob, hash: Hash): void {
  const found = hash.digest('hex')
  if (found === digest) return
  const kind = algorithm === 'sha1' ? 'git sha1' : algorithm
  const message = `"${path}" has ${kind} ${found}, and the Hugging Face cache says ${digest}: it was damaged or changed after its download; fetch it again with: ${command}`
  throw new CommandError('BLOB_DAMAGED', message)
}
