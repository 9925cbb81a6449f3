import { quoteName } from '@onecopy/safetensors'
import type { RuleAssignment } from './assign-rules.ts'
import { PlacementError } from './errors.ts'
import type { StageChoice } from './policy.ts'

/** Where a tensor has to be, before it is known which stage has room for what. Pinned tensors ask for nothing. */
export interface Demand {
  readonly fixed: readonly number[] // stages, rising
  /** Names of units: the tensor is wherever these are. */
  readonly units: readonly UnitKey[]
}

/** What goes to one stage as a whole: a layer, or a tensor without one that may be anywhere. */
export interface UnitKey {
  /** The text before a layer's number, or the tensor's name. */
  readonly name: string
  readonly layer: number | null
}

/**
 * Where a rule wants the tensor of that name.
 *
 * @param stageCount stages of the mesh
 * @throws PlacementError STAGE_MISSING when there are several stages, and neither the rule nor a layer chooses
 */
export function demandOf(name: string, { rule, captures }: RuleAssignment, stageCount: number): Demand {
  if (rule.rule.pin !== undefined) return { fixed: [], units: [] }
  const { layer, stack } = captures
  const byLayer: UnitKey | null = layer === null ? null : { name: stack, layer }
  const choices = [rule.rule.stage ?? []].flat() as readonly StageChoice[]
  if (choices.length === 0) {
    if (byLayer !== null) return { fixed: [], units: [byLayer] }
    if (stageCount === 1) return { fixed: [0], units: [] }
    const message = `Tensor ${quoteName(name)} has no {layer} by ${rule.text}, which must say its stage: there are ${stageCount}`
    throw new PlacementError('STAGE_MISSING', message, {
      tensor: name,
      field: `${rule.field}.stage`,
      details: { stageCount },
    })
  }
  const fixed = choices.flatMap((choice) => {
    if (choice === 'auto') return []
    if (typeof choice === 'number') return [choice]
    return [choice === 'first' ? 0 : stageCount - 1]
  })
  const units = choices.includes('auto') ? [byLayer ?? { name, layer: null }] : []
  return { fixed: [...new Set(fixed)].sort((a, b) => a - b), units }
}
