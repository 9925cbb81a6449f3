import { compilePattern } from '../src/pattern.ts'
import type { Policy, Rule, Split } from '../src/policy.ts'
import { foundPrefix } from '../src/prefix.ts'

/** The rule of a policy that counts for a name, without its pattern and entry; undefined when none does. */
export function firstRule(policy: Policy, name: string): Omit<Rule, 'match' | 'entry'> | undefined {
  const { rules } = foundPrefix(policy.rules, [{ name }])
  const found = rules.find(({ match }, at) => compilePattern(match, `rules[${at}].match`).match(name) !== null)
  if (found === undefined) return undefined
  const { match: _, entry: __, ...rest } = found
  return rest
}

/** A split along tp. */
export function tp(dimension: number, more: Partial<Split> = {}): Split {
  return { dimension, axis: 'tp', ...more }
}
