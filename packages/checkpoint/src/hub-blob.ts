import { realpath } from 'node:fs/promises'
import { basename } from 'node:path'
import { downloadCommand, hubPlaceOf } from './hub-cache.ts'

/** What the Hugging Face cache says of a file's content. */
export interface HubBlob {
  /** `sha256` of the content for large files, `sha1` of a git blob (`blob <length>`, NUL, content) for the others. */
  readonly algorithm: 'sha256' | 'sha1'
  readonly digest: string // hex
  /** The command that fetches the file again. */
  readonly command: string
}

/** What the content of a file must be by its blob's name in the Hugging Face cache; null for a file elsewhere. */
export async function hubBlobOf(path: string): Promise<HubBlob | null> {
  const target = await realpath(path)
  const place = hubPlaceOf(target)
  const digest = basename(target)
  if (place === null || place.snapshot !== undefined || !/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(digest)) return null
  const { repository, snapshot } = hubPlaceOf(path) ?? place
  const command = `${downloadCommand(repository, snapshot)} --force-download`
  return { algorithm: digest.length === 64 ? 'sha256' : 'sha1', digest, command }
}
