import { existsSync } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { InvalidArgumentError } from 'commander'
import { fromHome } from '../../option-values.ts'

/** A checkpoint as `onecopy serve` is asked for it. */
export interface ServedCheckpoint {
  readonly name: string
  /** What `openCheckpoint` takes; paths are absolute. */
  readonly source: string
}

/** How an argument begins that has no name before it: a path, a source in the local cache, a URL. */
const BARE = /^(?:[./~]|hf:|file:)/i

/** Adds one `[name=]<checkpoint>` argument to those before it. */
export function addServed(text: string, previous: readonly ServedCheckpoint[] = []): readonly ServedCheckpoint[] {
  const served = parseServed(text)
  const same = previous.find(({ name }) => name === served.name)
  if (same === undefined) return [...previous, served]
  const reason = `The name "${served.name}" is taken by ${same.source}; give this one another: <name>=${served.source}`
  throw new InvalidArgumentError(reason)
}

/** What one `[name=]<checkpoint>` argument means; a path that exists as it stands has no name before it. */
export function parseServed(text: string): ServedCheckpoint {
  const at = text.indexOf('=')
  const named = at > 0 && !BARE.test(text) && !existsSync(text)
  const source = absoluteSource(named ? text.slice(at + 1) : text)
  if (source === '') throw new InvalidArgumentError('After the name there must be a checkpoint.')
  return { name: named ? text.slice(0, at) : defaultName(source), source }
}

function absoluteSource(source: string): string {
  return source === '' || /^(?:hf|file):/i.test(source) ? source : resolve(fromHome(source))
}

/** A folder's or file's own name; an index is called like its folder, and a model in the cache like itself. */
function defaultName(source: string): string {
  if (source.startsWith('hf:')) return source.slice('hf:'.length).replace(/@.*$/, '')
  const path = /^file:/i.test(source) ? pathOf(source) : source
  return basename(path.endsWith('.json') ? dirname(path) : path, '.safetensors')
}

function pathOf(url: string): string {
  try {
    return fileURLToPath(url)
  } catch {
    return url // What is wrong with it is said when it is opened.
  }
}
