import { compilePattern } from '../src/pattern.ts'
import type { Policy, Rule, Split } from '../src/policy.ts'

/** The rule of a policy that counts for a name, without its pattern; undefined when none does. */
export function firstRule({ rules }: Policy, name: string): Omit<Rule, 'match'> | undefined {
  const found = rules.find(({ match }, at) => compilePattern(match, `rules[${at}].match`).match(name) !== null)
  if (found === undefined) return undefined
  const { match: _, ...rest } = found
  return rest
}

/** A split along tp. */
export function tp(dimension: number, more: { readonly blocks?: number; readonly unit?: number } = {}): Split {
  return { dimension, axis: 'tp', ...more }
}
