import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseShardFileName, quoteName } from '@onecopy/safetensors'
import { CheckpointError, messageOf, systemCode } from './errors.ts'
import { HUB_PREFIX, resolveHubSource } from './hub-cache.ts'

/** Where a checkpoint is: a file, a folder, an index file, `hf:org/name[@revision]`, or the list of its shards. */
export type CheckpointSource = string | URL | readonly string[]

/** Options that decide which files of a folder are the checkpoint. */
export interface LocateOptions {
  /** The variant in the file names, such as `fp16` in `model.fp16.safetensors`. @default none */
  readonly variant?: string
  /**
   * Which one to open where a folder holds both a single file and a shard index. Loaders differ here (transformers takes
   * the single file, huggingface_hub and diffusers the index), so without this option both standing there is an error.
   */
  readonly prefer?: 'index' | 'single'
}

/** The files of a checkpoint, none of them opened yet: its index, or its shards where it has none. Absolute paths. */
export type LocatedFiles = {
  /** What messages call the checkpoint. */
  readonly label: string
} & ({ readonly indexPath: string } | { readonly shardPaths: readonly string[] })

/** The file names that model libraries write, without their ending: transformers, diffusers, PEFT. */
const STEMS = ['model', 'diffusion_pytorch_model', 'adapter_model']

/**
 * Finds the files of a checkpoint.
 * @throws CheckpointError SOURCE_INVALID, SOURCE_NOT_FOUND, SOURCE_AMBIGUOUS, HUB_NOT_CACHED
 */
export async function locateFiles(source: CheckpointSource, options: LocateOptions = {}): Promise<LocatedFiles> {
  if (Array.isArray(source)) return locateList(source)
  const path = await toPath(source as string | URL)
  const found = await stat(path).catch((cause) => {
    const missing = systemCode(cause) === 'ENOENT' || systemCode(cause) === 'ENOTDIR'
    const message = missing ? `No checkpoint at "${path}"` : `Cannot open "${path}": ${messageOf(cause)}`
    throw new CheckpointError('SOURCE_NOT_FOUND', message, { path, cause })
  })
  if (found.isDirectory()) return locateInFolder(path, options)
  if (path.endsWith('.json')) return { label: path, indexPath: path }
  return { label: path, shardPaths: [path] }
}

async function toPath(source: string | URL): Promise<string> {
  if (source instanceof URL || /^file:/i.test(source)) {
    try {
      return fileURLToPath(source)
    } catch (cause) {
      const message = `Source "${source}" is not a file URL of this machine; checkpoints are opened from local files`
      throw new CheckpointError('SOURCE_INVALID', message, { cause })
    }
  }
  if (source.startsWith(HUB_PREFIX)) return resolveHubSource(source)
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(source)) {
    const message = `Source ${quoteName(source)} is a remote address; checkpoints are opened from local files or hf:org/name in the local cache`
    throw new CheckpointError('SOURCE_INVALID', message)
  }
  if (source === '' || source.includes('\0')) {
    throw new CheckpointError('SOURCE_INVALID', `Source ${quoteName(source)} is not a path`)
  }
  return resolve(source)
}

async function locateList(paths: readonly string[]): Promise<LocatedFiles> {
  if (paths.length === 0) throw new CheckpointError('SOURCE_INVALID', 'The list of shards is empty')
  const shardPaths = await Promise.all(paths.map((path) => toPath(path)))
  const twice = shardPaths.find((path, at) => shardPaths.indexOf(path) !== at)
  if (twice !== undefined) {
    throw new CheckpointError('SOURCE_INVALID', `Shard "${twice}" stands twice in the list`, { path: twice })
  }
  return { label: dirname(shardPaths[0]!), shardPaths }
}

async function locateInFolder(folder: string, { variant, prefer }: LocateOptions): Promise<LocatedFiles> {
  const names = await readdir(folder).catch((cause) => {
    throw new CheckpointError('SOURCE_NOT_FOUND', `Cannot list "${folder}": ${messageOf(cause)}`, {
      path: folder,
      cause,
    })
  })
  const present = new Set(names)
  const marked = variant === undefined ? '' : `.${variant}`
  for (const stem of STEMS) {
    const index = `${stem}.safetensors.index${marked}.json`
    const single = `${stem}${marked}.safetensors`
    if (present.has(index) && present.has(single) && prefer === undefined) {
      const message = `Folder "${folder}" holds both "${single}" and "${index}"; choose with the option prefer: 'single' or prefer: 'index'`
      throw new CheckpointError('SOURCE_AMBIGUOUS', message, { path: folder, candidates: [single, index] })
    }
    if (present.has(index) && !(present.has(single) && prefer === 'single')) {
      const indexPath = join(folder, index)
      return { label: indexPath, indexPath }
    }
    if (present.has(single)) return { label: folder, shardPaths: [join(folder, single)] }
  }
  return locateUnnamed(folder, names, variant)
}

/** A folder without any of the usual names: its only safetensors file, or an error that lists what is there. */
function locateUnnamed(folder: string, names: readonly string[], variant: string | undefined): LocatedFiles {
  const candidates = names.filter((name) => /\.safetensors(\.index(\..+)?\.json)?$/.test(name)).sort()
  const only = candidates.length === 1 && variant === undefined ? candidates[0]! : undefined
  // One numbered shard of several is what an interrupted download leaves, not a checkpoint.
  const whole = only?.endsWith('.safetensors') && (parseShardFileName(only)?.count ?? 1) === 1
  if (only !== undefined && whole) return { label: folder, shardPaths: [join(folder, only)] }
  const kind = variant === undefined ? 'checkpoint' : `checkpoint of variant ${quoteName(variant)}`
  if (candidates.length === 0) {
    const message = `Folder "${folder}" holds no ${kind}: no .safetensors file and no .safetensors.index.json`
    throw new CheckpointError('SOURCE_NOT_FOUND', message, { path: folder })
  }
  const listed = candidates
    .slice(0, 5)
    .map((name) => basename(name))
    .join(', ')
  const message = `Folder "${folder}" holds no ${kind} with one of the usual names; it has ${candidates.length} other files (${listed}${candidates.length > 5 ? ', …' : ''}): name the index, the file or the list of shards${variant === undefined ? ', or a variant' : ''}`
  throw new CheckpointError('SOURCE_AMBIGUOUS', message, { path: folder, candidates })
}
