import { resolve } from 'node:path'

/** A source with paths that mean the same in every process: relative ones are those of the process that names them. */
export function absoluteSource(source: string | readonly string[]): string | readonly string[] {
  if (typeof source !== 'string') return source.map((path) => resolve(path))
  return source.startsWith('hf:') || source.startsWith('file:') ? source : resolve(source)
}
