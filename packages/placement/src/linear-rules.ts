import type { Rule, Split, StageChoice } from './policy.ts'

/** How a matrix of [outputs, inputs] is cut, beside the axis tp. */
export interface LinearOptions {
  /** As of a split: outputs that stay together, such as those of one attention head. @default each by itself */
  readonly unit?: number | null | undefined
  /** Of modules outside of the layers. @default the stage of the layer */
  readonly stage?: StageChoice | readonly StageChoice[] | undefined
}

/** A matrix whose outputs are cut, and its bias. With `{expert}` in the glob, by expert as well. */
export function columnRules(module: string, options: LinearOptions = {}): readonly Rule[] {
  return [
    cutRule(`${module}.{weight,weight_packed,bias}`, 0, options),
    cutRule(`${module}.qweight`, 1, options), // [inputs, outputs]
  ]
}

/** A matrix whose inputs are cut; its bias is added to the sum over tp once, so one has it. */
export function rowRules(module: string, options: LinearOptions = {}): readonly Rule[] {
  return [
    cutRule(`${module}.{weight,weight_packed}`, 1, options),
    cutRule(`${module}.qweight`, 0, options),
    { match: `${module}.bias`, once: 'tp', ...placeOf(`${module}.bias`, options) },
  ]
}

/** Tensors that everybody has whole who has the stage, or the expert. */
export function wholeRule(match: string, { stage }: Pick<LinearOptions, 'stage'> = {}): Rule {
  return { match, replicate: true, ...placeOf(match, { stage }) }
}

/** What cuts the dimension of the experts, which is the outermost of every fused parameter. */
export function expertSplit(): Split {
  return { dimension: 0, axis: 'ep' }
}

function cutRule(match: string, dimension: number, { unit, stage }: LinearOptions): Rule {
  return {
    match,
    split: { dimension, axis: 'tp', ...(unit !== undefined && { unit }) },
    ...placeOf(match, { stage }),
  }
}

/** With `{expert}` in the glob by expert, and in the stages that the options say. */
function placeOf(match: string, { stage }: Pick<LinearOptions, 'stage'>): Pick<Rule, 'expert' | 'stage'> {
  return { ...(match.includes('{expert}') && { expert: 'ep' }), ...(stage !== undefined && { stage }) }
}
