import { readdir } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { quoteName } from '@onecopy/safetensors'
import { weightFilesOf } from '../folder-contents.ts'
import { type HubPlace, hubPlaceOf } from '../hub-cache.ts'
import { CONVERSION } from './cure.ts'

/** Sub-folders that are looked into, and names that a message lists. */
const MAX_FOLDERS = 256
const MAX_LISTED = 8

/** What a folder without safetensors files has instead: sub-folders with some, or weights of another format; null for none. */
export async function weightsElsewhere(folder: string): Promise<string | null> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  const names = entries.flatMap((entry) => (entry.isDirectory() ? [] : [entry.name])).sort()
  const folders = entries.flatMap((entry) => (entry.isFile() ? [] : [entry.name])).sort()
  const models = folders.filter((name) => name.startsWith('models--'))
  if (models.length > 0) {
    const sources = models.map((name) => `hf:${name.slice('models--'.length).replaceAll('--', '/')}`)
    return `it is a Hugging Face cache: name a model in it, such as ${listed(sources)}`
  }
  const found = await foldersWithWeights(folder, folders)
  const reasons: string[] = []
  if (found.length > 0) {
    const place = hubPlaceOf(join(folder, found[0]!))
    const source = place === null ? '' : ` (${quoteName(`hf:${place.repository}/${found[0]}@${place.snapshot}`, 1000)})`
    reasons.push(`these of its folders hold one, name it: ${listed(found)}${source}`)
  }
  const pickles = names.filter((name) => /\.(?:bin|pt|pth|ckpt|pkl)(?:\.index\.json)?$/.test(name))
  if (pickles.length > 0) reasons.push(`it holds PyTorch files (${listed(pickles)}): ${CONVERSION}`)
  const others = names.filter((name) => /\.(?:gguf|ggml|onnx|h5|msgpack|npz|tflite)$/.test(name))
  if (others.length > 0)
    reasons.push(`it holds weights of other formats (${listed(others)}); onecopy reads only safetensors`)
  return reasons.length === 0 ? null : reasons.join('; ')
}

/** Snapshots of a model that have weights where this one has none: a newer commit may have brought some small files only. */
export async function otherSnapshots(path: string, { repository, folder, snapshot }: HubPlace): Promise<string | null> {
  if (snapshot === undefined) return null
  const snapshots = join(folder, 'snapshots')
  const below = relative(join(snapshots, snapshot), path)
  const commits = (await readdir(snapshots).catch(() => [])).filter((commit) => commit !== snapshot).sort()
  const found = await foldersWithWeights(
    snapshots,
    commits.map((commit) => join(commit, below)),
    1,
  )
  if (found.length === 0) return null
  const source = join(repository, below)
  return `these snapshots of it hold one: ${listed(found.map((name) => `hf:${source}@${name.split('/')[0]}`))}`
}

/** Those with weights in them; where there are none, those a floor below. */
async function foldersWithWeights(folder: string, names: readonly string[], depth = 2): Promise<readonly string[]> {
  const found: string[] = []
  const below: string[] = []
  for (const name of names.slice(0, MAX_FOLDERS)) {
    const entries = await readdir(join(folder, name), { withFileTypes: true }).catch(() => [])
    if (weightFilesOf(entries.map((entry) => entry.name)).length > 0) found.push(name)
    else below.push(...entries.flatMap((entry) => (entry.isDirectory() ? [join(name, entry.name)] : [])))
  }
  return found.length > 0 || depth === 1 ? found : foldersWithWeights(folder, below.sort(), depth - 1)
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, MAX_LISTED).map((name) => quoteName(name))
  return `${shown.join(', ')}${names.length > shown.length ? ', …' : ''}`
}
