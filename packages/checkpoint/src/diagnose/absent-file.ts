import { lstat, readdir, readlink, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { quoteName } from '@onecopy/safetensors'
import { downloadCommand, hubPlaceOf } from '../hub-cache.ts'
import { CONVERSION } from './cure.ts'
import { otherSnapshots, weightsElsewhere } from './weights-elsewhere.ts'

/** Endings that programs give to a file as long as its download is not finished. */
const UNFINISHED = ['.incomplete', '.part', '.partial', '.crdownload', '.download', '.aria2', '.tmp']

/**
 * Why a file is not there, or a folder has not what it should have, and what brings it; null where nothing is known.
 * @param onlyParts whether a part of what should be there is
 */
export async function explainAbsence(
  path: string,
  { onlyParts = false }: { onlyParts?: boolean } = {},
): Promise<string | null> {
  const found = await stat(path).catch(() => null)
  if (found !== null && !found.isDirectory()) return null
  const elsewhere = found === null || onlyParts ? null : await weightsElsewhere(path)
  const reasons =
    found === null
      ? [
          await danglingLink(path),
          await standInFor(path),
          await interruptedDownload(path, dirname(path)),
          formatOf(path),
        ]
      : [await interruptedDownload(path, path), elsewhere]
  const place = hubPlaceOf(path)
  if (place !== null) reasons.push(await otherSnapshots(path, place))
  if (place !== null && elsewhere === null)
    reasons.push(`to fetch what is missing: ${downloadCommand(place.repository, place.snapshot)}`)
  const known = reasons.filter((reason) => reason !== null)
  return known.length === 0 ? null : known.join('; ')
}

async function danglingLink(path: string): Promise<string | null> {
  const found = await lstat(path).catch(() => null)
  if (!found?.isSymbolicLink()) return null
  return `it is a link to ${quoteName(await readlink(path).catch(() => '?'), 1000)}, where nothing is`
}

/** A file beside it that is what became of it. */
async function standInFor(path: string): Promise<string | null> {
  const name = basename(path)
  const beside = await readdir(dirname(path)).catch(() => [])
  const part = beside.find((other) => UNFINISHED.some((ending) => other === name + ending))
  if (part !== undefined) return `its download was not finished: ${quoteName(part)} stands beside it`
  const otherCase = beside.find((other) => other.toLowerCase() === name.toLowerCase() && other !== name)
  return otherCase === undefined ? null : `${quoteName(otherCase)} is there, in other letters`
}

/** What `hf download` keeps until a file is whole: in the cache, and in the folder that it downloads to. */
async function interruptedDownload(path: string, target: string): Promise<string | null> {
  const place = hubPlaceOf(path)
  const folder = place === null ? join(target, '.cache/huggingface/download') : join(place.folder, 'blobs')
  const waiting = (await readdir(folder).catch(() => [])).filter((other) => other.endsWith('.incomplete'))
  if (waiting.length === 0) return null
  const again = place === null ? '; give the same hf download again' : ''
  return `a download was interrupted: "${folder}" holds ${quoteName(waiting[0]!)}${again}`
}

/** What the path itself gives away: an index of PyTorch files leads to PyTorch files. */
function formatOf(path: string): string | null {
  if (/\/~(?:\/|$)/.test(path)) return 'only a shell knows "~" as the home folder'
  return /\.(?:bin|pt|pth|ckpt)$/.test(path) ? `its name is that of a PyTorch file: ${CONVERSION}` : null
}
