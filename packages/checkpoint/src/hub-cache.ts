import { readdir, readFile, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { quoteName } from '@onecopy/safetensors'
import { CheckpointError } from './errors.ts'
import { shellWord } from './shell-word.ts'

/** How a source in the Hugging Face cache begins. */
export const HUB_PREFIX = 'hf:'

/** Two words are organisation and name; what follows them is below the snapshot. */
const SOURCE =
  /^hf:(?<repository>[\w.-]+\/[\w.-]+|[\w.-]+(?=@|$))(?<below>(?:\/[^/@\p{Cc}]+)*)(?:@(?<revision>[^\p{Cc}]+))?$/u

/** What a folder in `snapshots` is called. */
const COMMIT = /^(?!\.{1,2}$)[\w.-]+$/

/** Snapshots that a message names at most. */
const MAX_NAMED = 3

/**
 * The folder or file of `hf:org/name[/sub-folder][@revision]` in the local Hugging Face cache; nothing is downloaded. The
 * cache is found as huggingface_hub finds it: HF_HUB_CACHE, else HUGGINGFACE_HUB_CACHE, else HF_HOME/hub, else
 * XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub, `~` and `$VARIABLE` expanded in all of them. A revision is
 * a branch or tag (`refs/<revision>` names its commit) or a commit itself.
 * @throws CheckpointError SOURCE_INVALID, HUB_NOT_CACHED
 */
export async function resolveHubSource(source: string, env: NodeJS.ProcessEnv = process.env): Promise<string> {
  const { repository, below = '', revision = 'main' } = SOURCE.exec(source)?.groups ?? {}
  const parts = [...(repository ?? '..').split('/'), ...below.split('/').slice(1), ...revision.split('/')]
  if (repository === undefined || parts.some((part) => part === '..' || part === '' || part === '.')) {
    const message = `Source ${quoteName(source)} must have the form hf:org/name[/sub-folder][@revision]`
    throw new CheckpointError('SOURCE_INVALID', message)
  }
  const folder = join(hubCacheFolder(env), `models--${repository.replaceAll('/', '--')}`)
  return join(await snapshotOf(folder, repository, revision), below)
}

/**
 * The snapshot that huggingface_hub would take where a model's folder in its cache is given (`models--org--name`, or the
 * `snapshots` in it); null for any other folder.
 * @throws CheckpointError HUB_NOT_CACHED
 */
export async function snapshotInFolder(folder: string): Promise<string | null> {
  const model = basename(folder) === 'snapshots' ? dirname(folder) : folder
  const { repository, snapshot } = hubPlaceOf(join(model, 'snapshots', '-')) ?? {}
  if (repository === undefined || snapshot === undefined || !(await isFolder(join(model, 'snapshots')))) return null
  return snapshotOf(model, repository, 'main')
}

async function snapshotOf(folder: string, repository: string, revision: string): Promise<string> {
  const commit = await readFile(join(folder, 'refs', revision), 'utf8').then(
    (text) => text.trim(),
    () => revision,
  )
  const snapshot = join(folder, 'snapshots', commit)
  if (COMMIT.test(commit) && (await isFolder(snapshot))) return snapshot
  const others = (await readdir(join(folder, 'snapshots')).catch(() => [])).filter((name) => COMMIT.test(name))
  const named = others.slice(0, MAX_NAMED).map((name) => `hf:${repository}@${name}`)
  const there = named.length === 0 ? '' : `; there are other snapshots: ${listed(named, others.length)}`
  const message = `Model ${quoteName(repository)} at revision ${quoteName(revision)} is not in the local cache "${folder}"${there}; to fetch it: ${downloadCommand(repository, revision)}`
  throw new CheckpointError('HUB_NOT_CACHED', message, { path: folder, candidates: named })
}

function listed(names: readonly string[], count: number): string {
  return `${names.join(', ')}${count > names.length ? `, and ${count - names.length} more` : ''}`
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )
}

/** What a path in a Hugging Face cache stands for. */
export interface HubPlace {
  readonly repository: string
  /** The model's folder in the cache. */
  readonly folder: string
  /** The commit whose snapshot the path is in; undefined for a blob. */
  readonly snapshot: string | undefined
}

/** The model that a file or folder in a Hugging Face cache belongs to, by its path alone; null for a path elsewhere. */
export function hubPlaceOf(path: string): HubPlace | null {
  const match = /^(?<folder>(?:.*\/)?models--(?<name>[^/]+))\/(?:snapshots\/(?<snapshot>[^/]+)|blobs)(?:\/|$)/.exec(
    path,
  )
  if (match === null) return null
  const { folder, name, snapshot } = match.groups as { folder: string; name: string; snapshot?: string }
  return { repository: name.replaceAll('--', '/'), folder, snapshot }
}

/** The command that brings a revision into the cache. */
export function downloadCommand(repository: string, revision: string | undefined): string {
  const of = revision === undefined || revision === 'main' ? '' : ` --revision ${shellWord(revision)}`
  return `hf download ${shellWord(repository)}${of}`
}

function hubCacheFolder(env: NodeJS.ProcessEnv): string {
  const cache = env['HF_HUB_CACHE'] || env['HUGGINGFACE_HUB_CACHE']
  if (cache) return expanded(cache, env)
  const home = env['HF_HOME'] || join(env['XDG_CACHE_HOME'] || '~/.cache', 'huggingface')
  return join(expanded(home, env), 'hub')
}

/** As Python's os.path.expandvars(os.path.expanduser(path)) does it: variables that there are not stay as they stand. */
function expanded(path: string, env: NodeJS.ProcessEnv): string {
  const fromHome = path.replace(/^~(?=\/|$)/, () => homedir())
  return fromHome.replace(/\$(?:(\w+)|\{([^}]*)\})/g, (whole, bare, braced) => env[bare ?? braced] ?? whole)
}
