import { dirname } from 'node:path'
import { downloadCommand, hubPlaceOf } from '../hub-cache.ts'
import { shellWord } from '../shell-word.ts'
import type { Cure } from './file-kinds.ts'

/** How a pickle becomes safetensors without a stranger's code being run on this machine, and how with Python. */
export const CONVERSION: string =
  'onecopy reads no pickles, since loading one runs what is in it; take the safetensors files of the model where it has some, or have them made by https://huggingface.co/spaces/safetensors/convert'

/** What mends a file of another kind, as a sentence goes on; null where the kind says it. */
export function cureOf(cure: Cure, path: string): string | null {
  switch (cure) {
    case 'lfs':
      return hubPlaceOf(path) === null
        ? `fetch the file itself with: git -C ${shellWord(dirname(path))} lfs pull`
        : downloadAgain(path)
    case 'download':
      return downloadAgain(path)
    case 'convert':
      return CONVERSION
    case 'unpack':
      return 'unpack it first'
    case 'other-tool':
      return 'onecopy reads only safetensors; take the safetensors files of the model'
    case 'open-other':
      return null
  }
}

/** The command that replaces a damaged file, where it came from is known. */
export function downloadAgain(path: string): string {
  const place = hubPlaceOf(path)
  if (place === null) return 'download it again'
  // A file that is there, whatever is in it, is not downloaded again unless that is asked for.
  return `download it again with: ${downloadCommand(place.repository, place.snapshot)} --force-download`
}
