import { resolve } from 'node:path'
import { MAX_PATH_BYTES, MAX_SHARDS } from './schema.ts'

/**
 * A source with paths that mean the same in every process: relative ones are those of the process that names them.
 * @throws RangeError for an empty path, and for what no message can carry: a coordinator ends the connection of a client that sends it
 */
export function absoluteSource(source: string | URL | readonly string[]): string | readonly string[] {
  if (source instanceof URL) return sendable(source.href)
  if (typeof source === 'string') return absolute(source)
  const { length } = source
  if (length > MAX_SHARDS)
    throw new RangeError(`The source is a list of ${length} files; at most ${MAX_SHARDS} can be sent`)
  return source.map(absolute)
}

function absolute(source: string): string {
  // As of a variable that is not set: resolved, it would be the folder in which this process happens to be.
  if (source === '') throw new RangeError('The source is an empty text; it must be a path, or hf:org/name')
  return sendable(source.startsWith('hf:') || source.startsWith('file:') ? source : resolve(source))
}

function sendable(path: string): string {
  const byteLength = Buffer.byteLength(path)
  if (byteLength > MAX_PATH_BYTES) {
    throw new RangeError(`The source has a path of ${byteLength} bytes; at most ${MAX_PATH_BYTES} can be sent`)
  }
  if (/\p{Cs}/u.test(path)) throw new RangeError(`The source has a path with half a character: ${JSON.stringify(path)}`)
  return path
}
