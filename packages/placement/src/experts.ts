import { type IndexedTensor, quoteName } from '@onecopy/safetensors'
import type { Assignment, ReadyRule, RuleAssignment } from './assign-rules.ts'
import { PlacementError } from './errors.ts'
import { getOrMake } from './get-or-make.ts'

/**
 * Deals experts over the positions of the axis ep: neighbours together, as evenly as it goes. A rule's experts count by
 * stack, from 0 to the highest number that there is, so that every layer is dealt alike.
 *
 * @param count positions on the axis
 * @returns for each tensor that is placed by expert its position, else null; always null where there is one position
 * @throws PlacementError POLICY_INVALID where the pattern took no number from the name
 */
export function dealExperts(
  tensors: readonly Pick<IndexedTensor, 'name'>[],
  assignments: readonly Assignment[],
  count: number,
): readonly (number | null)[] {
  const experts = new Map<ReadyRule, Map<string, number>>() // how many
  for (const [place, assignment] of assignments.entries()) {
    if (!isByExpert(assignment)) continue
    const { rule, captures } = assignment
    const { expert, stack } = captures
    if (expert === null) throw withoutNumber(tensors[place]!.name, rule)
    const byStack = getOrMake(experts, rule, () => new Map<string, number>())
    byStack.set(stack, Math.max(byStack.get(stack) ?? 0, expert + 1))
  }
  return assignments.map((assignment) => {
    if (count === 1 || !isByExpert(assignment)) return null
    const { expert, stack } = assignment.captures
    return Math.floor((expert! * count) / experts.get(assignment.rule)!.get(stack)!)
  })
}

function isByExpert(assignment: Assignment): assignment is RuleAssignment {
  return assignment.rule?.rule.expert !== undefined
}

function withoutNumber(tensor: string, { text, field }: ReadyRule): PlacementError {
  const message = `${text} places tensor ${quoteName(tensor)} by expert, but takes no {expert} from its name`
  return new PlacementError('POLICY_INVALID', message, { tensor, field })
}
