import { readlink, realpath } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { downloadCommand, hubPlaceOf } from './hub-cache.ts'

/** What the Hugging Face cache says of a file's content. */
export interface HubBlob {
  /** `sha256` of the content for large files, `sha1` of a git blob (`blob <length>`, NUL, content) for the others. */
  readonly algorithm: 'sha256' | 'sha1'
  readonly digest: string // hex
  /** The command that fetches the file again. */
  readonly command: string
}

/** From a snapshot to its blob, and from there to the blobs that several models share, which are called otherwise. */
const MAX_LINKS = 8

/** What the content of a file must be by its blob's name in the Hugging Face cache; null for a file elsewhere. */
export async function hubBlobOf(path: string): Promise<HubBlob | null> {
  let target = path
  for (let links = 0; links < MAX_LINKS; links++) {
    target = join(await realpath(dirname(target)), basename(target))
    const place = hubPlaceOf(target)
    const digest = basename(target)
    if (place !== null && place.snapshot === undefined && /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(digest)) {
      const command = `${downloadCommand(place.repository, hubPlaceOf(path)?.snapshot)} --force-download`
      return { algorithm: digest.length === 64 ? 'sha256' : 'sha1', digest, command }
    }
    const link = await readlink(target).catch(() => null)
    if (link === null) return null
    target = resolve(dirname(target), link)
  }
  return null
}
