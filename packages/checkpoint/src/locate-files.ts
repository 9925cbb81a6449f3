import { readdir, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { quoteName } from '@onecopy/safetensors'
import { CheckpointError, messageOf, systemCode } from './errors.ts'
import { type WeightFiles, weightFilesOf, withoutAppleDouble } from './folder-contents.ts'
import { HUB_PREFIX, resolveHubSource, snapshotInFolder } from './hub-cache.ts'
import { notOne } from './not-one-checkpoint.ts'
import { readIndexFile } from './read-index.ts'
import { StrictParsing } from './strict-parsing.ts'

/**
 * Where a checkpoint is: a file, a folder, an index file, `hf:org/name[/sub-folder][@revision]`, or the list of its shards.
 */
export type CheckpointSource = string | URL | readonly string[]

/** Options that decide which files of a folder are the checkpoint. */
export interface LocateOptions {
  /** The variant in the file names, such as `fp16` in `model.fp16.safetensors`. @default none, or the only one that is there */
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
} & (
  | {
      readonly indexPath: string
      /** The names of the files in its folder, where they were read. */
      readonly beside?: readonly string[]
    }
  | { readonly shardPaths: readonly string[] }
)

/** The file names that model libraries write, without their ending: transformers, diffusers, PEFT. They come first. */
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
    const message = missing
      ? `No checkpoint at "${path}"${hubHint(source)}`
      : `Cannot open "${path}": ${messageOf(cause)}`
    throw new CheckpointError('SOURCE_NOT_FOUND', message, { path, cause })
  })
  if (found.isDirectory()) return locateInFolder(path, options)
  if (path.endsWith('.json')) return { label: path, indexPath: path }
  return { label: path, shardPaths: [path] }
}

/** Other libraries take a model's name in the hub where a path could stand. */
function hubHint(source: CheckpointSource): string {
  if (typeof source !== 'string' || !/^\w[\w.-]*\/[\w.-]+(?<!\.(?:safetensors|json))$/.test(source)) return ''
  return `; a model in the Hugging Face cache is named ${HUB_PREFIX}${source}`
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
  const seen = new Set<string>()
  const twice = shardPaths.find((path) => seen.size === seen.add(path).size)
  if (twice !== undefined) {
    throw new CheckpointError('SOURCE_INVALID', `Shard "${twice}" stands twice in the list`, { path: twice })
  }
  return { label: dirname(shardPaths[0]!), shardPaths }
}

async function locateInFolder(folder: string, options: LocateOptions): Promise<LocatedFiles> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause) => {
    throw new CheckpointError('SOURCE_NOT_FOUND', `Cannot list "${folder}": ${messageOf(cause)}`, {
      path: folder,
      cause,
    })
  })
  const names = entries.flatMap((entry) => (entry.isDirectory() ? [] : [entry.name]))
  const { variant } = options
  // Nearly every folder has one of these names, and then nothing else of it need be understood.
  for (const files of variant === undefined ? exactNames(names) : []) {
    const located = takeFrom(folder, names, files, options)
    if (located !== null) return located
  }
  const groups = weightFilesOf(withoutAppleDouble(names))
  for (const stem of STEMS) {
    const usual = groups.find(({ base }) => base === (variant === undefined ? stem : `${stem}.${variant}`))
    const located = usual === undefined ? null : takeFrom(folder, names, usual, options)
    if (located !== null) return located
  }
  const snapshot = groups.length === 0 ? await snapshotInFolder(folder) : null
  if (snapshot !== null) return locateInFolder(snapshot, options)
  const wanted = await distinct(folder, variant === undefined ? groups : groups.filter(hasVariant(variant)))
  const only = wanted.length === 1 ? takeFrom(folder, names, wanted[0]!, options) : null
  if (only !== null) return only
  throw notOne(folder, groups, wanted, variant)
}

/** What has the usual names without numbers or a variant, in their order. */
function exactNames(names: readonly string[]): readonly WeightFiles[] {
  const present = new Set(names)
  return STEMS.map((base) => {
    const [single, index] = [`${base}.safetensors`, `${base}.safetensors.index.json`]
    return { base, single: present.has(single) ? single : null, indexes: present.has(index) ? [index] : [], shards: [] }
  })
}

function hasVariant(variant: string): (files: WeightFiles) => boolean {
  return ({ base }) => base.endsWith(`.${variant}`)
}

function isUsual({ base }: WeightFiles): boolean {
  return STEMS.some((stem) => base === stem || base.startsWith(`${stem}.`))
}

/** The groups that may be the checkpoint: those of usual names, where there are some, without the shards that an index names. */
async function distinct(folder: string, groups: readonly WeightFiles[]): Promise<readonly WeightFiles[]> {
  const indexes = groups.flatMap(({ indexes }) => indexes)
  const named = new Set((await Promise.all(indexes.map((name) => shardsNamedBy(join(folder, name))))).flat())
  const isNamed = ({ single, indexes, shards }: WeightFiles): boolean => {
    return indexes.length === 0 && (single === null || named.has(single)) && shards.every(({ name }) => named.has(name))
  }
  const own = groups.filter((files) => !isNamed(files))
  const usual = own.filter(isUsual)
  return usual.length > 0 ? usual : own
}

/** What is wrong with an index is said when it is opened. */
async function shardsNamedBy(indexPath: string): Promise<readonly string[]> {
  using parsing = new StrictParsing()
  try {
    return await parsing.readIndex(await readIndexFile(indexPath))
  } catch {
    return []
  }
}

/** The checkpoint that files of one name are; null for shards without an index, which may be those of two saves. */
function takeFrom(
  folder: string,
  beside: readonly string[],
  files: WeightFiles,
  { prefer }: LocateOptions,
): LocatedFiles | null {
  const { single, indexes, shards } = files
  const [index] = indexes
  if (indexes.length > 1 || (index !== undefined && single !== null && prefer === undefined)) {
    const candidates = [...(single === null ? [] : [single]), ...indexes]
    const both = candidates.map((name) => `"${name}"`).join(' and ')
    const choose = single === null ? 'name one of them' : "choose with the option prefer: 'single' or prefer: 'index'"
    const message = `Folder "${folder}" holds both ${both}; ${choose}`
    throw new CheckpointError('SOURCE_AMBIGUOUS', message, { path: folder, candidates })
  }
  if (index !== undefined && !(single !== null && prefer === 'single')) {
    const indexPath = join(folder, index)
    return { label: indexPath, indexPath, beside }
  }
  const file = single ?? (shards.length === 1 && shards[0]!.count === 1 ? shards[0]!.name : null)
  return file === null ? null : { label: folder, shardPaths: [join(folder, file)] }
}
