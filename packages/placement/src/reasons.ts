import type { Assignment, ReadyRule, RuleAssignment } from './assign-rules.ts'
import type { Cutting } from './pieces.ts'
import type { StageChoice } from './policy.ts'
import type { StageNeeds } from './units.ts'

/** Everything that a reason tells of. */
export interface Decision {
  readonly assignment: Assignment
  /** The rule of the tensor, or of that which it follows. */
  readonly root: RuleAssignment
  readonly cutting: Cutting
  readonly needs: StageNeeds
}

/**
 * Why a tensor is where it is, in one sentence. Tensors for which the same was decided have the same.
 *
 * @param by what chose the stages of units, null when there is one stage only
 */
export function reasonOf({ assignment, root, cutting, needs }: Decision, by: string | null): string {
  const said = [cutText(cutting, root.rule)]
  if (root.rule.rule.pin === undefined && by !== null) {
    said.push(stageText(root, by))
    if (needs.together) said.push('together with its group')
    if (needs.tied) said.push('wherever one of its tied names is')
  }
  const { rule } = assignment
  const subject =
    rule === null
      ? `companion ${assignment.companion.match} follows ${assignment.companion.of} by ${root.rule.text}`
      : rule.text
  return `${subject}: ${said.join('; ')}`
}

function cutText({ cuts, expertAt }: Cutting, { rule }: ReadyRule): string {
  if (rule.pin !== undefined) return `whole, pinned to ${[rule.pin].flat().join(', ')}`
  if (rule.once !== undefined) return `whole, on the first position along ${rule.once}`
  const cut = cuts.map(({ dimension, axis }) => `dimension ${dimension} cut along ${axis}`)
  if (cut.length === 0) cut.push(rule.split === undefined ? 'whole' : 'whole, nothing to cut')
  if (expertAt !== null) cut.push('expert → position along ep')
  return cut.join(', ')
}

function stageText({ rule, captures }: RuleAssignment, by: string): string {
  const subject = captures.layer === null ? 'stage' : 'layer → stage'
  const choices = [rule.rule.stage ?? 'auto'].flat() as readonly StageChoice[]
  const texts = choices.map((choice) => {
    if (choice === 'auto') return `${subject} by ${by}`
    return typeof choice === 'number' ? `stage ${choice}` : `${choice} stage`
  })
  return texts.join(' and ')
}
