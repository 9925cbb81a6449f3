import { escapeGlob, type IndexedTensor } from '@onecopy/safetensors'
import { getOrMake } from './get-or-make.ts'
import { compilePattern } from './pattern.ts'
import { PREFIX, type Rule } from './policy.ts'

/** Rules whose globs begin as the names do, and what the plan has to say of that. */
export interface PrefixedRules {
  readonly rules: readonly Rule[]
  readonly notices: readonly string[]
}

/**
 * Puts in what stands before the names in the checkpoint, where rules leave that open: of all beginnings of names up to a
 * dot, and of none, the one with which most of those rules match, else most tensors.
 */
export function foundPrefix(rules: readonly Rule[], tensors: readonly Pick<IndexedTensor, 'name'>[]): PrefixedRules {
  const open = rules.flatMap(({ match, entry }, at) => {
    return isOpen(match) ? [{ pattern: compilePattern(match.slice(PREFIX.length), ''), entry: entry ?? at }] : []
  })
  if (open.length === 0) return { rules, notices: [] }
  // Layers and experts are alike: one of each is enough to see.
  const counts = new Map<string, number>()
  for (const { name } of tensors) {
    const generic = name.replace(/\d+/g, '0')
    counts.set(generic, (counts.get(generic) ?? 0) + 1)
  }
  const found = new Map<string, { readonly entries: Set<unknown>; tensors: number }>()
  for (const [name, count] of counts) {
    for (let begin = 0; ; begin = name.indexOf('.', begin) + 1) {
      const rest = name.slice(begin)
      const matching = open.filter(({ pattern }) => pattern.match(rest) !== null)
      if (matching.length > 0) {
        const prefix = name.slice(0, begin)
        const seen = getOrMake(found, prefix, () => ({ entries: new Set<unknown>(), tensors: 0 }))
        seen.tensors += count
        for (const { entry } of matching) seen.entries.add(entry)
      }
      if (!name.includes('.', begin)) break
    }
  }
  const [best, next] = [...found].sort(([, a], [, b]) => b.entries.size - a.entries.size || b.tensors - a.tensors)
  const prefix = best?.[0] ?? ''
  const others = best !== undefined && next !== undefined && next[1].entries.size === best[1].entries.size
  return {
    rules: rules.map((rule) => {
      return isOpen(rule.match) ? { ...rule, match: escapeGlob(prefix) + rule.match.slice(PREFIX.length) } : rule
    }),
    notices: others
      ? [`The rules fit names that begin with "${prefix}" and with "${next[0]}" alike, and only the first are taken`]
      : [],
  }
}

function isOpen(match: Rule['match']): match is string {
  return typeof match === 'string' && match.startsWith(PREFIX)
}
