import { fstatSync, read } from 'node:fs'
import { basename, dirname } from 'node:path'
import { promisify } from 'node:util'
import {
  HEADER_PREFIX_BYTES,
  type Header,
  parseHeader,
  quoteName,
  readHeaderLength,
  SafetensorsError,
  withPath,
} from '@onecopy/safetensors'
import { type Descriptor, openRegularFile } from '@onecopy/sharedarraybuffer-utils'
import PQueue from 'p-queue'
import { CheckpointError, messageOf, systemCode } from './errors.ts'
import { closeShards, MAX_SHARDS_HELD_OPEN, type OpenShard } from './open-shard.ts'

const readInto = promisify(read)

/** Headers read at a time: enough to keep a disk busy, few enough to leave libuv's thread pool to others. */
const READS_AT_A_TIME = 4

/** More names than this in a message are those of a hostile index. */
const MAX_NAMED_SHARDS = 1000

/** A shard with its header. */
export interface ReadShard extends OpenShard {
  readonly header: Header
}

/**
 * Opens shards and reads their headers, in parallel; the result stands in the order of `paths`.
 * @throws CheckpointError SHARD_NOT_FOUND, SHARD_UNREADABLE
 * @throws SafetensorsError with `path`, when a header is refused
 */
export async function readHeaders(paths: readonly string[], signal?: AbortSignal): Promise<ReadShard[]> {
  const queue = new PQueue({ concurrency: READS_AT_A_TIME })
  const tasks = paths.map((path) => async () => {
    signal?.throwIfAborted()
    return readShardHeader(path, paths.length)
  })
  // Settled, not all: the others' descriptors must be closed when one fails.
  const results = await Promise.allSettled(tasks.map((task) => queue.add(task)))
  const shards = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  const failed = results.find((result) => result.status === 'rejected')
  if (failed === undefined) return shards
  closeShards(shards)
  throw allMissing(results) ?? failed.reason
}

/** All shards that are missing in one error: whoever fetches one will want to fetch the others too. */
function allMissing(results: readonly PromiseSettledResult<unknown>[]): CheckpointError | null {
  const reasons = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []))
  const missing = reasons.flatMap((reason) => {
    return reason instanceof CheckpointError && reason.code === 'SHARD_NOT_FOUND' ? [reason.path!] : []
  })
  if (missing.length < 2) return null
  const named = missing.slice(0, MAX_NAMED_SHARDS).map((path) => quoteName(basename(path)))
  const more = missing.length > named.length ? `, and ${missing.length - named.length} more` : ''
  const message = `${missing.length} of ${results.length} shards are missing in "${dirname(missing[0]!)}": ${named.join(', ')}${more}`
  return new CheckpointError('SHARD_NOT_FOUND', message, { path: missing[0]! })
}

/** @param shardCount how many there are in all */
async function readShardHeader(path: string, shardCount: number): Promise<ReadShard> {
  const holdOpen = shardCount <= MAX_SHARDS_HELD_OPEN
  let file: Descriptor
  try {
    file = openRegularFile(path)
  } catch (cause) {
    const missing = systemCode(cause) === 'ENOENT'
    const message = missing
      ? `Shard "${path}" is missing`
      : `Cannot open shard "${path}": ${messageOf(cause, holdOpen ? shardCount : undefined)}`
    throw new CheckpointError(missing ? 'SHARD_NOT_FOUND' : 'SHARD_UNREADABLE', message, { path, cause })
  }
  try {
    const { size, ino: inode, mtimeNs: modifiedNs } = fstatSync(file.number, { bigint: true })
    const byteLength = Number(size)
    const prefix = await readExactly(file, 0, Math.min(HEADER_PREFIX_BYTES, byteLength))
    // Both the format's limit and the file's own length bound what is allocated for the header.
    const headerLength = readHeaderLength(prefix, byteLength)
    const json = await readExactly(file, HEADER_PREFIX_BYTES, headerLength)
    const dataOffset = HEADER_PREFIX_BYTES + headerLength
    const header = parseHeader(json, byteLength - dataOffset)
    const descriptor = holdOpen ? file : null
    if (!holdOpen) file.close()
    return { name: basename(path), path, descriptor, byteLength, inode, modifiedNs, dataOffset, header }
  } catch (cause) {
    file.close()
    if (cause instanceof SafetensorsError) throw withPath(cause, path)
    throw new CheckpointError('SHARD_UNREADABLE', `Cannot read shard "${path}": ${messageOf(cause)}`, { path, cause })
  }
}

async function readExactly(file: Descriptor, position: number, byteLength: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(byteLength)
  for (let done = 0; done < byteLength; ) {
    const { bytesRead } = await readInto(file.number, bytes, done, byteLength - done, position + done)
    if (bytesRead === 0) throw new RangeError(`file ends at byte ${position + done} of ${position + byteLength}`)
    done += bytesRead
  }
  return bytes
}
