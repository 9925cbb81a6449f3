import { readFile, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { quoteName } from '@onecopy/safetensors'
import { CheckpointError } from './errors.ts'

/** How a source in the Hugging Face cache begins. */
export const HUB_PREFIX = 'hf:'

const SOURCE = /^hf:(?<repository>[\w.-]+(?:\/[\w.-]+)?)(?:@(?<revision>.+))?$/

/**
 * The snapshot folder of `hf:org/name[@revision]` in the local Hugging Face cache; nothing is downloaded. The cache is
 * found as huggingface_hub finds it: HF_HUB_CACHE, else HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub, else
 * ~/.cache/huggingface/hub. A revision is a branch or tag (`refs/<revision>` names its commit) or a commit itself.
 * @throws CheckpointError SOURCE_INVALID, HUB_NOT_CACHED
 */
export async function resolveHubSource(source: string, env: NodeJS.ProcessEnv = process.env): Promise<string> {
  const { repository, revision = 'main' } = SOURCE.exec(source)?.groups ?? {}
  if (repository === undefined || revision.split('/').some((part) => part === '..' || part === '' || part === '.')) {
    throw new CheckpointError('SOURCE_INVALID', `Source ${quoteName(source)} must have the form hf:org/name[@revision]`)
  }
  const folder = join(hubCacheFolder(env), `models--${repository.replaceAll('/', '--')}`)
  const commit = await readFile(join(folder, 'refs', revision), 'utf8').then(
    (text) => text.trim(),
    () => revision,
  )
  const snapshot = join(folder, 'snapshots', commit)
  const found = await stat(snapshot).catch(() => null)
  if (!found?.isDirectory() || !/^(?!\.{1,2}$)[\w.-]+$/.test(commit)) {
    const command = `hf download ${repository}${revision === 'main' ? '' : ` --revision ${shellWord(revision)}`}`
    const message = `Model ${quoteName(repository)} at revision ${quoteName(revision)} is not in the local cache "${folder}"; to fetch it: ${command}`
    throw new CheckpointError('HUB_NOT_CACHED', message, { path: folder })
  }
  return snapshot
}

/** Somebody will paste the command into a shell, and the revision may come from a stranger. */
function shellWord(text: string): string {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

function hubCacheFolder(env: NodeJS.ProcessEnv): string {
  if (env['HF_HUB_CACHE']) return env['HF_HUB_CACHE']
  const cache = env['XDG_CACHE_HOME'] || join(homedir(), '.cache')
  return join(env['HF_HOME'] || join(cache, 'huggingface'), 'hub')
}
