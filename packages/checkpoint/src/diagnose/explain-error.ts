import { fstatSync, readSync } from 'node:fs'
import { HEADER_PREFIX_BYTES, SafetensorsError } from '@onecopy/safetensors'
import { openRegularFile } from '@onecopy/sharedarraybuffer-utils'
import { CheckpointError } from '../errors.ts'
import { numberedShard } from '../folder-contents.ts'
import { explainUnfinished } from '../unfinished-save.ts'
import { explainAbsence } from './absent-file.ts'
import { cureOf } from './cure.ts'
import { type FileEnds, HEAD_BYTES, type Kind, kindOf, looksLikeSafetensors } from './file-kinds.ts'

/** The errors that a file of another kind, or a damaged one, gives. */
const OF_CONTENT: ReadonlySet<string> = new Set([
  'SAFETENSORS_HEADER_TOO_SMALL',
  'SAFETENSORS_HEADER_TOO_LARGE',
  'SAFETENSORS_INVALID_HEADER_LENGTH',
  'SAFETENSORS_INVALID_HEADER_UTF8',
  'SAFETENSORS_INVALID_HEADER_JSON',
  'SAFETENSORS_METADATA_INCOMPLETE_BUFFER',
  'SAFETENSORS_INVALID_INDEX',
])

/** In bytes. */
const ZERO_RUN = 16

/** The errors of a file that is not there. */
const OF_ABSENCE: ReadonlySet<string> = new Set(['SOURCE_NOT_FOUND', 'INDEX_UNREADABLE', 'SHARD_NOT_FOUND'])

/**
 * An error of opening, with what the file at fault really is and what mends it: code and fields stay. Any other error comes
 * back as it is, and so does one about whose file there is nothing to say.
 */
export async function explainError(error: unknown): Promise<unknown> {
  const isKnown = error instanceof SafetensorsError || error instanceof CheckpointError
  if (!isKnown || error.path === undefined) return error
  const unfinished = await explainUnfinished(error)
  if (unfinished !== error) return unfinished
  const said = OF_CONTENT.has(error.code)
    ? explainContent(error as SafetensorsError, error.path)
    : OF_ABSENCE.has(error.code)
      ? await explainAbsence(error.path)
      : error instanceof CheckpointError && isHalfASet(error)
        ? await explainAbsence(error.path, { onlyParts: true })
        : null
  return said === null ? error : withExplanation(error, said)
}

/** Numbered shards of which the index, or some, are not there. */
function isHalfASet({
  code,
  candidates = [],
}: {
  readonly code: string
  readonly candidates?: readonly string[] | undefined
}): boolean {
  return code === 'SOURCE_AMBIGUOUS' && candidates.every((name) => (numberedShard(name)?.count ?? 1) > 1)
}

function withExplanation(error: SafetensorsError | CheckpointError, said: string): Error {
  const { code, path, tensor, cause } = error
  const message = `${error.message}; ${said}`
  if (error instanceof SafetensorsError) {
    return new SafetensorsError(error.code, message, { path, tensor, details: error.details, cause })
  }
  return new CheckpointError(code as CheckpointError['code'], message, {
    ...(path !== undefined && { path }),
    ...(tensor !== undefined && { tensor }),
    ...(error.candidates !== undefined && { candidates: error.candidates }),
    cause,
  })
}

function explainContent(error: SafetensorsError, path: string): string | null {
  const ends = readEnds(path)
  if (ends === null) return null
  const isIndex = error.code === 'SAFETENSORS_INVALID_INDEX'
  const kind = isIndex ? kindOfIndex(ends) : (damageOf(error, ends) ?? kindOf(ends))
  if (kind === null) return null
  const cure = cureOf(kind.cure, path)
  return `the file is ${kind.text}${cure === null ? '' : `: ${cure}`}`
}

/** What stands in the place of an index; that it is JSON of some kind is no news. */
function kindOfIndex(ends: FileEnds): Kind | null {
  if (looksLikeSafetensors(ends.head)) return { text: 'a safetensors file, no index', cure: 'open-other' }
  const kind = kindOf(ends)
  return kind?.text === 'a JSON text' || kind?.text === 'a shard index' ? null : kind
}

/** What is wrong with a file that is a safetensors file. */
function damageOf({ code, details }: SafetensorsError, { byteLength, head }: FileEnds): Kind | null {
  if (!looksLikeSafetensors(head)) return null
  if (code === 'SAFETENSORS_INVALID_HEADER_LENGTH') {
    const missing = HEADER_PREFIX_BYTES + Number(details['headerByteLength']) - byteLength
    return { text: `cut off inside its header: at least ${missing} bytes are missing`, cure: 'download' }
  }
  if (code === 'SAFETENSORS_INVALID_HEADER_JSON' && holdsZeros(head)) {
    return {
      text: 'filled with zeros inside its header: its space was reserved, and its content not written',
      cure: 'download',
    }
  }
  if (code !== 'SAFETENSORS_METADATA_INCOMPLETE_BUFFER') return null
  const excess = BigInt(details['dataByteLength'] as number) - BigInt(details['expected'] as number | bigint)
  if (excess < 0n)
    return { text: `cut off: ${-excess} of its ${BigInt(byteLength) - excess} bytes are missing`, cure: 'download' }
  return { text: `longer than it should be: ${excess} bytes follow its last tensor`, cure: 'download' }
}

/** Whether a run of zeros stands there that no text has. */
function holdsZeros(head: Uint8Array): boolean {
  const bytes = Buffer.from(head)
  const at = bytes.indexOf(new Uint8Array(ZERO_RUN), HEADER_PREFIX_BYTES)
  return at !== -1 && at < HEADER_PREFIX_BYTES + Number(bytes.readBigUInt64LE(0))
}

/** Null for a file that cannot be read now. */
function readEnds(path: string): FileEnds | null {
  try {
    using file = openRegularFile(path)
    const byteLength = fstatSync(file.number).size
    const head = new Uint8Array(Math.min(HEAD_BYTES, byteLength))
    return { byteLength, head: head.subarray(0, readSync(file.number, head, 0, head.byteLength, 0)) }
  } catch {
    return null
  }
}
