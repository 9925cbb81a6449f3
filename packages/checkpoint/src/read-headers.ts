import { closeSync, fstatSync, read } from 'node:fs'
import { basename } from 'node:path'
import { promisify } from 'node:util'
import {
  type FlatHeader,
  flattenHeader,
  type Header,
  parseHeader,
  readHeaderLength,
  SafetensorsError,
  scanFlatHeader,
  withPath,
} from '@onecopy/safetensors'
import { openRegularFile } from '@onecopy/sharedarraybuffer-utils'
import PQueue from 'p-queue'
import { CheckpointError, messageOf, systemCode } from './errors.ts'

const readInto = promisify(read)

/** Bytes in front of the header: its length as u64. */
const PREFIX_BYTES = 8

/** Headers read at a time: enough to keep a disk busy, few enough to leave libuv's thread pool to others. */
const READS_AT_A_TIME = 4

/** A shard whose header was read; the descriptor is open until `closeShards`. */
export interface OpenShard {
  readonly name: string
  readonly path: string
  readonly descriptor: number
  readonly byteLength: number // of the whole file
  readonly inode: bigint
  readonly modifiedNs: bigint // since the epoch, before the header was read
  readonly dataOffset: number // first byte behind the header
  /** The header in columns, or null where it is written in an unusual way; see `columnsOf`. */
  readonly flat: FlatHeader | null
  /**
   * The header, read by the strict parser: only when somebody asks, if it could be read into columns.
   * @throws SafetensorsError with `path`, for a name that stands twice
   */
  readonly header: Header
}

/**
 * Opens shards and reads their headers, in parallel; the result stands in the order of `paths`.
 * @throws CheckpointError SHARD_NOT_FOUND, SHARD_UNREADABLE
 * @throws SafetensorsError with `path`, when a header is refused; a name that stands twice may wait for `header`
 */
export async function readHeaders(paths: readonly string[], signal?: AbortSignal): Promise<OpenShard[]> {
  const queue = new PQueue({ concurrency: READS_AT_A_TIME })
  const tasks = paths.map((path) => async () => {
    signal?.throwIfAborted()
    return readShardHeader(path)
  })
  // Settled, not all: the others' descriptors must be closed when one fails.
  const results = await Promise.allSettled(tasks.map((task) => queue.add(task)))
  const shards = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  const failed = results.find((result) => result.status === 'rejected')
  if (failed === undefined) return shards
  closeShards(shards)
  // A name that stands twice in a shard before the failed one was let pass, and is the first thing that is wrong.
  assertNamesOnce(shards.slice(0, results.indexOf(failed)))
  throw failed.reason
}

/**
 * Reads headers that were only read into columns by the strict parser too, which alone sees that a name stands twice.
 * @throws SafetensorsError with `path`, of the first header that is refused
 */
export function assertNamesOnce(shards: readonly OpenShard[]): void {
  for (const shard of shards) void shard.header
}

/** The header of a shard in columns, however it was read. */
export function columnsOf(shard: OpenShard): FlatHeader {
  return shard.flat ?? flattenHeader(shard.header)
}

export function closeShards(shards: readonly OpenShard[]): void {
  for (const { descriptor } of shards) closeSync(descriptor)
}

/**
 * Sees to it that headers and data belong together: a file written to after its header was read is not what was checked.
 * @throws CheckpointError CHECKPOINT_CHANGED
 */
export function assertShardsUnchanged(shards: readonly OpenShard[]): void {
  for (const { descriptor, path, modifiedNs, byteLength } of shards) {
    const now = fstatSync(descriptor, { bigint: true })
    if (now.mtimeNs === modifiedNs && Number(now.size) === byteLength) continue
    const message = `Shard "${path}" was written to while it was opened; open it again`
    throw new CheckpointError('CHECKPOINT_CHANGED', message, { path })
  }
}

async function readShardHeader(path: string): Promise<OpenShard> {
  let descriptor: number
  try {
    descriptor = openRegularFile(path)
  } catch (cause) {
    const missing = systemCode(cause) === 'ENOENT'
    const message = missing ? `Shard "${path}" is missing` : `Cannot open shard "${path}": ${messageOf(cause)}`
    throw new CheckpointError(missing ? 'SHARD_NOT_FOUND' : 'SHARD_UNREADABLE', message, { path, cause })
  }
  try {
    const { size, ino: inode, mtimeNs: modifiedNs } = fstatSync(descriptor, { bigint: true })
    const byteLength = Number(size)
    const prefix = await readExactly(descriptor, 0, Math.min(PREFIX_BYTES, byteLength))
    // Both the format's limit and the file's own length bound what is allocated for the header.
    const headerLength = readHeaderLength(prefix, byteLength)
    const json = await readExactly(descriptor, PREFIX_BYTES, headerLength)
    const dataOffset = PREFIX_BYTES + headerLength
    const flat = scanFlatHeader(json, byteLength - dataOffset)
    let parsed = flat === null ? parseHeader(json, byteLength - dataOffset) : null
    return {
      name: basename(path),
      path,
      descriptor,
      byteLength,
      inode,
      modifiedNs,
      dataOffset,
      flat,
      get header() {
        try {
          parsed ??= parseHeader(json, byteLength - dataOffset)
        } catch (error) {
          throw withPath(error, path)
        }
        return parsed
      },
    }
  } catch (cause) {
    closeSync(descriptor)
    if (cause instanceof SafetensorsError) throw withPath(cause, path)
    throw new CheckpointError('SHARD_UNREADABLE', `Cannot read shard "${path}": ${messageOf(cause)}`, { path, cause })
  }
}

async function readExactly(descriptor: number, position: number, byteLength: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(byteLength)
  for (let done = 0; done < byteLength; ) {
    const { bytesRead } = await readInto(descriptor, bytes, done, byteLength - done, position + done)
    if (bytesRead === 0) throw new RangeError(`file ends at byte ${position + done} of ${position + byteLength}`)
    done += bytesRead
  }
  return bytes
}
