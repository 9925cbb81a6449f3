import { GlobError, globMatcher, MAX_NUMBER_DIGITS, parseGlob, quoteName } from '@onecopy/safetensors'
import { PlacementError } from './errors.ts'
import type { Pattern } from './policy.ts'

/** What a pattern remembers of a name. */
export interface Captures {
  readonly layer: number | null // null: the pattern remembers none
  readonly expert: number | null
  /** The name up to the layer's number; empty without one. Layers of different stacks count by themselves. */
  readonly stack: string
}

/** A pattern that is ready to match. */
export interface CompiledPattern {
  /** The pattern as messages show it: the glob in quotes, or the regular expression between slashes. */
  readonly text: string
  /** Whether the pattern can remember such a number. */
  readonly captures: { readonly layer: boolean; readonly expert: boolean }
  /**
   * @returns what the name has of numbers, or null when the whole name does not match
   * @throws PlacementError POLICY_INVALID when a group `layer` or `expert` of a regular expression took something that is no
   * number of at most 15 digits
   */
  match(name: string): Captures | null
}

/** Code units of a pattern: far beyond any that a person writes. */
const MAX_PATTERN_LENGTH = 10_000

/**
 * Makes a pattern ready to match. Globs take time in proportion to the name times the glob, whatever the name; for a
 * regular expression that is its author's business.
 *
 * @param field where the pattern stands, for errors
 * @throws PlacementError POLICY_INVALID
 */
export function compilePattern(pattern: Pattern, field: string): CompiledPattern {
  const source = typeof pattern === 'string' ? pattern : pattern.regex
  if (source === '') throw invalid(field, 'is empty: no tensor has an empty name')
  if (source.length > MAX_PATTERN_LENGTH) {
    throw invalid(field, `has ${source.length} characters: it must have at most ${MAX_PATTERN_LENGTH}`)
  }
  return typeof pattern === 'string' ? compileGlob(pattern, field) : compileRegex(pattern.regex, field)
}

function compileGlob(glob: string, field: string): CompiledPattern {
  const text = quoteName(glob)
  try {
    const steps = parseGlob(glob)
    const find = globMatcher(steps)
    const has = (capture: string) => steps.some((step) => step.kind === 'number' && step.capture === capture)
    return {
      text,
      captures: { layer: has('layer'), expert: has('expert') },
      match(name) {
        const found = find(name)
        if (found === null) return null
        const { layerAt, expertAt } = found
        return capturesOf(name, layerAt, numberAt(name, layerAt), numberAt(name, expertAt))
      },
    }
  } catch (error) {
    if (error instanceof GlobError) throw invalid(field, `${text} ${error.message}`, error)
    throw error
  }
}

function compileRegex(source: string, field: string): CompiledPattern {
  const text = `/${source}/`
  let regex: RegExp
  try {
    new RegExp(source, 'u') // by itself first, so that no stray bracket gets by with the help of those around it
    regex = new RegExp(`^(?:${source})$`, 'du')
  } catch (cause) {
    throw invalid(field, `${text} is no regular expression: ${(cause as Error).message}`, cause)
  }
  // An empty choice always matches, and then all groups are there, if only by name.
  const groups = Object.keys(new RegExp(`${source}|`, 'u').exec('')?.groups ?? {})
  return {
    text,
    captures: { layer: groups.includes('layer'), expert: groups.includes('expert') },
    match(name) {
      const found = regex.exec(name)
      if (found === null) return null
      const number = (group: 'layer' | 'expert'): number | null => {
        const digits = found.groups?.[group]
        if (digits === undefined) return null
        if (/^\d+$/.test(digits) && digits.length <= MAX_NUMBER_DIGITS) return Number(digits)
        const what = `takes ${quoteName(digits)} of tensor ${quoteName(name)} as its ${group}`
        throw invalid(field, `${text} ${what}: it must be a number of at most ${MAX_NUMBER_DIGITS} digits`)
      }
      return capturesOf(name, found.indices?.groups?.['layer']?.[0] ?? -1, number('layer'), number('expert'))
    },
  }
}

function capturesOf(name: string, layerAt: number, layer: number | null, expert: number | null): Captures {
  return { layer, expert, stack: layer === null ? '' : name.slice(0, layerAt) }
}

/** The number whose digits begin there. */
function numberAt(name: string, at: number): number | null {
  return at === -1 ? null : Number.parseInt(name.slice(at, at + MAX_NUMBER_DIGITS), 10)
}

function invalid(field: string, what: string, cause?: unknown): PlacementError {
  return new PlacementError('POLICY_INVALID', `The pattern ${field} ${what}`, { field, cause })
}
