import type { Rule, Split, StageChoice } from './policy.ts'

/** How a matrix of [outputs, inputs] is cut, beside the axis tp. */
export interface LinearOptions {
  /** Outputs, or inputs, that stay together, such as those of one attention head. @default 1 */
  readonly unit?: number | undefined
  /** Values in one integer of AWQ, which packs outputs: 8 for 4 bits. @default 1, as in GPTQ, which packs inputs */
  readonly packedOutputs?: number | undefined
  /** Of modules outside of the layers. @default the stage of the layer */
  readonly stage?: StageChoice | readonly StageChoice[] | undefined
}

/** A matrix whose outputs are cut, and its bias. With `{expert}` in the glob, by expert as well. */
export function columnRules(module: string, options: LinearOptions = {}): readonly Rule[] {
  const { unit, packedOutputs = 1 } = options
  const packedUnit = unit === undefined || unit % packedOutputs !== 0 ? undefined : unit / packedOutputs
  return [
    cutRule(`${module}.{weight,weight_packed,bias}`, 0, unit, options),
    cutRule(`${module}.qweight`, 1, packedUnit, options), // [inputs, outputs]
  ]
}

/** A matrix whose inputs are cut; its bias is added once, so everybody has it. */
export function rowRules(module: string, options: LinearOptions = {}): readonly Rule[] {
  return [
    cutRule(`${module}.{weight,weight_packed}`, 1, options.unit, options),
    cutRule(`${module}.qweight`, 0, undefined, options),
    wholeRule(`${module}.bias`, options),
  ]
}

/** Tensors that everybody has whole who has the stage, or the expert. */
export function wholeRule(match: string, { stage }: Pick<LinearOptions, 'stage'> = {}): Rule {
  return { match, replicate: true, ...byExpert(match), ...(stage !== undefined && { stage }) }
}

/** What cuts the dimension of the experts, which is the outermost of every fused parameter. */
export function expertSplit(): Split {
  return { dimension: 0, axis: 'ep' }
}

function cutRule(match: string, dimension: number, unit: number | undefined, { stage }: LinearOptions): Rule {
  return {
    match,
    split: { dimension, axis: 'tp', ...(unit !== undefined && unit > 1 && { unit }) },
    ...byExpert(match),
    ...(stage !== undefined && { stage }),
  }
}

function byExpert(match: string): { readonly expert?: 'ep' } {
  return match.includes('{expert}') ? { expert: 'ep' } : {}
}
