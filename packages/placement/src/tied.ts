import { type IndexedTensor, quoteName } from '@onecopy/safetensors'
import { type Assignment, type ReadyRule, ruleOf } from './assign-rules.ts'
import { PlacementError } from './errors.ts'
import type { MeshSize } from './mesh.ts'
import type { Cutting } from './pieces.ts'
import type { Policy } from './policy.ts'
import { cutShape } from './split.ts'

/**
 * Checks that tied names are treated alike, since they are one tensor: cut the same way, and by the same expert or pin.
 * Names that the checkpoint does not have are cut by their rule as if they had the shape of those it has.
 *
 * @throws PlacementError RULES_CONTRADICT naming both tensors and what decides about them
 */
export function checkTied(
  tensors: readonly IndexedTensor[],
  assignments: readonly Assignment[],
  cuttings: readonly Cutting[],
  rules: readonly ReadyRule[],
  tied: NonNullable<Policy['tied']>,
  size: MeshSize,
): void {
  const places = new Map(tensors.map(({ name }, place) => [name, place]))
  for (const [at, names] of tied.entries()) {
    const existing = names.find((name) => places.has(name))
    if (existing === undefined) continue
    const { shape } = tensors[places.get(existing)!]!
    const treated = names.flatMap((name) => {
      const place = places.get(name)
      const assignment = place === undefined ? ruleOf(name, rules) : assignments[place]!
      if (assignment === null) return [] // said elsewhere
      const { rule } = assignment
      if (rule === null) {
        const message = `Tensor ${quoteName(name)} is tied, but follows ${quoteName(tensors[assignment.owner]!.name)}`
        throw new PlacementError('RULES_CONTRADICT', message, { tensor: name, field: `tied[${at}]` })
      }
      const { split = [], once, pin = [], expert } = rule.rule
      const subject = { tensor: name, rule: rule.text, field: rule.field }
      const cuts = place === undefined ? cutShape(shape, [split].flat(), size, subject) : cuttings[place]!.cuts
      const by = place === undefined ? undefined : cuttings[place]!.expertAt
      return [{ name, rule, expert: by, text: JSON.stringify([cuts, once, [pin].flat().sort(), expert]) }]
    })
    const [first, ...others] = treated
    for (const other of others) {
      const expertDiffers = first!.expert !== undefined && other.expert !== undefined && first!.expert !== other.expert
      if (other.text === first!.text && !expertDiffers) continue
      const [a, b] = [first!, other].map(({ name, rule }) => `${quoteName(name)} (${rule.text})`)
      const message = `Tied tensors must be cut and placed alike, but ${a} and ${b} are not`
      const details = { tensors: [first!.name, other.name], rules: [first!.rule.field, other.rule.field] }
      throw new PlacementError('RULES_CONTRADICT', message, { tensor: other.name, field: `tied[${at}]`, details })
    }
  }
}
