import { fstatSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { HEADER_PREFIX_BYTES, quoteName, readHeaderLength, SafetensorsError, withPath } from '@onecopy/safetensors'
import { type Descriptor, openRegularFile } from '@onecopy/sharedarraybuffer-utils'
import PQueue from 'p-queue'
import { breather } from './breather.ts'
import { CheckpointError, messageOf, systemCode } from './errors.ts'
import { closeShards, MAX_SHARDS_HELD_OPEN, type OpenShard } from './open-shard.ts'
import { readText } from './read-text.ts'
import type { HeaderText } from './strict-parser.ts'

/** Bytes of all headers together, about four times those of the largest checkpoint seen (497,000 tensors). */
export const MAX_HEADERS_BYTES = 256_000_000

/** Headers read at a time: enough to keep a disk busy, few enough to leave libuv's thread pool to others. */
const READS_AT_A_TIME = 4

/** More names than this in a message are those of a hostile index. */
const MAX_NAMED_SHARDS = 1000

/** A shard with the text of its header. */
export type ReadShard = OpenShard & HeaderText

/**
 * Opens shards and reads the texts of their headers, in parallel; the result stands in the order of `paths`.
 * @throws CheckpointError SHARD_NOT_FOUND, SHARD_UNREADABLE, SHARD_TWICE, CHECKPOINT_TOO_LARGE
 * @throws SafetensorsError with `path`, when the length of a header is refused
 */
export async function readHeaders(paths: readonly string[], signal?: AbortSignal): Promise<ReadShard[]> {
  const queue = new PQueue({ concurrency: READS_AT_A_TIME })
  const breathe = breather()
  const together = new Together(paths.length)
  const tasks = paths.map((path) => async () => {
    await breathe()
    signal?.throwIfAborted()
    return readShardHeader(path, together, signal)
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

/** What the shards of one checkpoint must not be together. */
class Together {
  readonly shardCount: number
  readonly #paths = new Map<string, string>()
  #headerBytes = 0

  constructor(shardCount: number) {
    this.shardCount = shardCount
  }

  /** @throws CheckpointError SHARD_TWICE for a file that came under another name: each of its tensors would come twice. */
  addFile(path: string, identity: string): void {
    const other = this.#paths.get(identity)
    this.#paths.set(identity, path)
    if (other === undefined) return
    const message = `Shards "${other}" and "${path}" are one file; each of its tensors would be there twice`
    throw new CheckpointError('SHARD_TWICE', message, { path, candidates: [other] })
  }

  /** @throws CheckpointError CHECKPOINT_TOO_LARGE, before so much is read */
  addHeader(path: string, byteLength: number): void {
    this.#headerBytes += byteLength
    if (this.#headerBytes <= MAX_HEADERS_BYTES) return
    const message = `The headers of the shards have more than ${MAX_HEADERS_BYTES} bytes together, with that of "${path}"; no more are read`
    throw new CheckpointError('CHECKPOINT_TOO_LARGE', message, { path })
  }
}

async function readShardHeader(path: string, together: Together, signal?: AbortSignal): Promise<ReadShard> {
  const holdOpen = together.shardCount <= MAX_SHARDS_HELD_OPEN
  let file: Descriptor
  try {
    file = openRegularFile(path)
  } catch (cause) {
    const missing = systemCode(cause) === 'ENOENT'
    const message = missing
      ? `Shard "${path}" is missing`
      : `Cannot open shard "${path}": ${messageOf(cause, holdOpen ? together.shardCount : undefined)}`
    throw new CheckpointError(missing ? 'SHARD_NOT_FOUND' : 'SHARD_UNREADABLE', message, { path, cause })
  }
  try {
    const { size, dev, ino: inode, mtimeNs: modifiedNs } = fstatSync(file.number, { bigint: true })
    together.addFile(path, `${dev}:${inode}`)
    const byteLength = Number(size)
    const prefix = await readText(file, 0, Math.min(HEADER_PREFIX_BYTES, byteLength), signal)
    // Both the format's limit and the file's own length bound what is allocated for the header.
    const headerLength = readHeaderLength(prefix, byteLength)
    together.addHeader(path, headerLength)
    const json = await readText(file, HEADER_PREFIX_BYTES, headerLength, signal)
    const dataOffset = HEADER_PREFIX_BYTES + headerLength
    const descriptor = holdOpen ? file : null
    if (!holdOpen) file.close()
    return { name: basename(path), path, descriptor, byteLength, inode, modifiedNs, dataOffset, json }
  } catch (cause) {
    file.close()
    if (cause instanceof SafetensorsError) throw withPath(cause, path)
    if (cause instanceof CheckpointError || signal?.aborted) throw cause
    throw new CheckpointError('SHARD_UNREADABLE', `Cannot read shard "${path}": ${messageOf(cause)}`, { path, cause })
  }
}
