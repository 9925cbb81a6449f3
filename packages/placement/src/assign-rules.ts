import { type IndexedTensor, quoteName } from '@onecopy/safetensors'
import { PlacementError } from './errors.ts'
import { type Captures, type CompiledPattern, compilePattern } from './pattern.ts'
import type { Companion, Rule } from './policy.ts'

/** A rule that is ready to match. */
export interface ReadyRule {
  readonly rule: Rule
  readonly pattern: CompiledPattern
  readonly place: number // in the policy
  /** Where it stands: `rules[3]`. */
  readonly field: string
  /** What messages and reasons call it: `rules[3] "model.norm.*"`. */
  readonly text: string
}

/** What decides about a tensor: a rule, or the tensor that it belongs to. */
export type Assignment = RuleAssignment | CompanionAssignment

/** A rule, and what its pattern remembers of the tensor's name. */
export interface RuleAssignment {
  readonly rule: ReadyRule
  readonly captures: Captures
}

export interface CompanionAssignment {
  readonly rule: null
  readonly owner: number // place of the tensor that it belongs to
  readonly companion: Companion
}

/** Code units of a pattern in messages and reasons. */
const MAX_SHOWN_LENGTH = 100

/** Choices at the beginning of a glob. */
const LONG_LIST_IN_FRONT = /^\{[^{}]{24,}\}/

/** Uncovered tensors that an error names: enough to see what they have in common. */
const MAX_NAMED = 5

/** The rules with their patterns. */
export function readyRules(rules: readonly Rule[]): readonly ReadyRule[] {
  return rules.map((rule, at) => {
    const field = `rules[${at}]`
    const pattern = compilePattern(rule.match, `${field}.match`)
    const shown =
      typeof rule.match === 'string' ? quoteName(withoutPrefixes(rule.match), MAX_SHOWN_LENGTH) : pattern.text
    return { rule, pattern, place: at, field, text: `${field} ${shown}` }
  })
}

/** The first rule that matches the name. */
export function ruleOf(name: string, rules: readonly ReadyRule[]): RuleAssignment | null {
  for (const rule of rules) {
    const captures = rule.pattern.match(name)
    if (captures !== null) return { rule, captures }
  }
  return null
}

/**
 * Finds for each tensor what decides about it: the tensor that it is a companion of, where there is that, else the first
 * rule that matches.
 *
 * @throws PlacementError TENSOR_UNCOVERED naming the first tensors without a rule, and how many there are;
 * RULES_CONTRADICT for tensors that are companions of each other in a circle
 */
export function assignRules(
  tensors: readonly IndexedTensor[],
  rules: readonly ReadyRule[],
  companions: readonly Companion[],
): readonly Assignment[] {
  const places = new Map(tensors.map(({ name }, place) => [name, place]))
  const templates = companions.map((companion) => ({ companion, ...cutTemplate(companion) }))
  const uncovered: string[] = []
  const assignments = tensors.map(({ name }): Assignment | null => {
    for (const { companion, before, after, ownerOf, besideOf } of templates) {
      if (name.length < before.length + after.length || !name.endsWith(after) || !name.startsWith(before)) continue
      const shared = name.slice(before.length, name.length - after.length)
      const owner = places.get(ownerOf(shared))
      if (owner !== undefined && (besideOf === null || places.has(besideOf(shared))))
        return { rule: null, owner, companion }
    }
    const found = ruleOf(name, rules)
    if (found === null) uncovered.push(name)
    return found
  })
  if (uncovered.length > 0) throw uncoveredError(uncovered)
  const complete = assignments as readonly Assignment[]
  refuseCircles(tensors, complete)
  return complete
}

function cutTemplate({ match, of, beside }: Companion) {
  const [before = '', after = ''] = match.split('{name}')
  return { before, after, ownerOf: filling(of), besideOf: beside === undefined ? null : filling(beside) }
}

function filling(template: string): (name: string) => string {
  const [before = '', after = ''] = template.split('{name}')
  return (name) => `${before}${name}${after}`
}

function uncoveredError(names: readonly string[]): PlacementError {
  const shown = names.slice(0, MAX_NAMED).map((name) => quoteName(name))
  const more = names.length > MAX_NAMED ? ` and ${names.length - MAX_NAMED} more` : ''
  const subject = names.length === 1 ? 'tensor' : `these ${names.length} tensors:`
  const details = { count: names.length, tensors: names.slice(0, MAX_NAMED) }
  const message = `No rule covers ${subject} ${shown.join(', ')}${more}`
  return new PlacementError('TENSOR_UNCOVERED', message, { tensor: names[0]!, details })
}

function refuseCircles(tensors: readonly IndexedTensor[], assignments: readonly Assignment[]): void {
  const known = new Set<number>() // places from where the way leads to a rule
  for (const start of assignments.keys()) {
    const way = new Set<number>()
    for (let place = start; !known.has(place); ) {
      if (way.has(place)) {
        const names = [...way].map((at) => quoteName(tensors[at]!.name))
        const message = `Each of these tensors is a companion of the next, in a circle: ${names.join(', ')}`
        throw new PlacementError('RULES_CONTRADICT', message, { tensor: tensors[place]!.name, field: 'companions' })
      }
      way.add(place)
      const assignment = assignments[place]!
      if (assignment.rule !== null) break
      place = assignment.owner
    }
    for (const place of way) known.add(place)
  }
}

/** Long lists of what names may begin with say the same in every rule of a preset, and hide what tells the rules apart. */
function withoutPrefixes(glob: string): string {
  return glob.replace(LONG_LIST_IN_FRONT, '…')
}
