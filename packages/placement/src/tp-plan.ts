import { quoteName } from '@onecopy/safetensors'
import { PlacementError } from './errors.ts'
import { nearestHint } from './fields.ts'
import { expertSplit } from './linear-rules.ts'
import { nearest } from './nearest.ts'
import type { MeshShape, Policy, Rule, Split, StageChoice } from './policy.ts'
import { pipelineStages } from './pp-plan.ts'
import { type Parameter, TP_STYLES, type TpStyle, tpSplit } from './tp-styles.ts'

/** Transformers' `base_model_tp_plan` and `base_model_ep_plan`: styles by module or parameter, `*` for any number. */
export type TpPlan = Readonly<Record<string, string>>

/** The mesh, and what goes with the plan. */
export interface TpPlanOptions extends MeshShape {
  /**
   * `base_model_ep_plan`. Transformers uses it instead of the other plan, on the same ranks; here ep is an axis of its own:
   * its entries go before those of the other plan, and experts that both plans name are cut along both axes.
   */
  readonly epPlan?: TpPlan
  /**
   * `base_model_pp_plan`: modules in the order in which they run. What stands before the layers goes to the first stage,
   * what stands behind them to the last; only the order of the keys counts.
   * @default embed_tokens, layers, norm
   */
  readonly ppPlan?: Readonly<Record<string, unknown>>
  /** What stands before the plan's names in the checkpoint, since a base model's plan leaves it out. @default `model.` */
  readonly prefix?: string
  /** As in a policy: names of one and the same tensor. @default none */
  readonly tied?: readonly (readonly string[])[]
}

/** An entry of a plan, read. */
interface Entry {
  readonly name: string // without the prefix, as the plan has it
  readonly style: TpStyle
  readonly byExpert: boolean // cut along ep as well
}

/** Names of a module's weight: plain, or packed by compressed-tensors in the same layout; or of a parameter itself. */
const WEIGHTS = '{,.weight,.weight_packed}'

/**
 * A policy that cuts weights as transformers does with this plan. Everything that no entry names stays whole: in the
 * stage of its layer, the modules before the layers on the first stage, those behind them and `lm_head` on the last, and
 * the rest on every stage.
 *
 * Entries for fused experts also cover the separate experts of which transformers fuses them on loading.
 *
 * @throws PlacementError POLICY_INVALID for a style that there is not, for entries that are no text, for a `ppPlan`
 * without layers, and for several positions along ep when no entry places experts
 */
export function fromTpPlan(plan: TpPlan, options: TpPlanOptions = {}): Policy {
  const { epPlan = {}, ppPlan, prefix = 'model.', tied, ...mesh } = options
  const stages = pipelineStages(ppPlan, prefix, mesh.pp ?? 1, tied ?? [])
  const tpStyles = readPlan(plan, 'plan')
  const styles = new Map([...tpStyles, ...readPlan(epPlan, 'epPlan')])
  const entries = Array.from(styles, ([name, style]): Entry => {
    if (style.kind !== 'experts') return { name, style, byExpert: false }
    const other = tpStyles.get(name)
    return { name, style: other === undefined || other.kind === 'experts' ? { kind: 'whole' } : other, byExpert: true }
  })
  const rules = entries.flatMap((entry) => rulesOf(entry, (name) => stages.of(name), prefix))
  if ((mesh.ep ?? 1) > 1 && !rules.some(usesEp)) {
    const message = `The mesh has ${mesh.ep} positions along ep, but no entry of the plans places experts: give epPlan`
    throw new PlacementError('POLICY_INVALID', message, { field: 'epPlan' })
  }
  return { mesh, rules: [...withoutTwins(rules), ...stages.rules], ...(tied !== undefined && { tied }) }
}

function readPlan(plan: TpPlan, field: string): ReadonlyMap<string, TpStyle> {
  return new Map(
    Object.entries(plan).map(([name, style]) => {
      const known = Object.hasOwn(TP_STYLES, style) ? TP_STYLES[style] : undefined
      if (known !== undefined && name !== '') return [name, known]
      const place = `${field}[${JSON.stringify(name)}]`
      if (name === '') throw new PlacementError('POLICY_INVALID', `${place} names no module`, { field: place })
      const candidates = typeof style === 'string' ? nearest(style, Object.keys(TP_STYLES)) : []
      const shown = typeof style === 'string' ? quoteName(style) : String(style)
      const message = `${place} is ${shown}, which is no style of transformers${nearestHint(candidates)}`
      throw new PlacementError('POLICY_INVALID', message, { field: place, candidates })
    }),
  )
}

function rulesOf(
  entry: Entry,
  stageOf: (name: string) => StageChoice | readonly StageChoice[] | null,
  prefix: string,
): Rule[] {
  const { name } = entry
  const style = forEmbedding(name, entry.style)
  const path = prefixed(name, prefix)
  const glob = numbersOf(path)
  const stage = stageOf(path)
  const cut = (match: string, parameter: Parameter, like: TpStyle = style): Rule => {
    const byExpert = match.includes('{expert}')
    const splits: Split[] = entry.byExpert && !byExpert ? [expertSplit()] : []
    const split = tpSplit(like, parameter)
    if (split !== null) splits.push(split)
    return {
      match,
      ...(splits.length === 0 ? { replicate: true as const } : { split: splits.length === 1 ? splits[0]! : splits }),
      ...(byExpert && { expert: 'ep' as const }),
      ...(stage !== null && { stage }),
    }
  }
  if (/_(?:blocks|scales)$/.test(name)) return [cut(glob, 'mxfp4')]
  const rules = [cut(`${glob}${WEIGHTS}`, 'weight'), cut(`${glob}.bias`, 'bias'), cut(`${glob}.qweight`, 'qweight')]
  // Checkpoints have the experts one by one where the model has them fused.
  const fused = /^(.*\.experts)\.(gate_up_proj|down_proj)$/.exec(glob)
  if (fused === null) return rules
  const experts = `${fused[1]!.replace('.mlp.', '.{mlp,block_sparse_moe}.')}.{expert}`
  const projections = fused[2] === 'down_proj' ? '{down_proj,w2}' : '{gate_proj,up_proj,w1,w3}'
  const single: TpStyle = style.kind === 'whole' ? style : { kind: fused[2] === 'down_proj' ? 'row' : 'column' }
  return [
    ...rules,
    cut(`${experts}.${projections}{.weight,.weight_packed}`, 'weight', single),
    cut(`${experts}.${projections}.bias`, 'bias', single),
    cut(`${experts}.${projections}.qweight`, 'qweight', single),
  ]
}

/** Transformers asks the module whether it is an embedding, whose weight is [entries, width]; a plan has only its name. */
function forEmbedding(name: string, style: TpStyle): TpStyle {
  if (!/(?:^|\.)(?:\w*embed\w*|wte|wpe)$/.test(name)) return style
  if (style.kind === 'row') return { kind: 'embedding-row' }
  return style.kind === 'column' ? { kind: 'embedding-column' } : style
}

/** The name in the checkpoint. The head is no part of the base model, and a whole model's plan has the prefix already. */
function prefixed(name: string, prefix: string): string {
  return name === 'lm_head' || name.startsWith('lm_head.') || (prefix !== '' && name.startsWith(prefix))
    ? name
    : prefix + name
}

/** The glob of a name: the number behind `experts` is that of an expert, the first other one that of a layer. */
function numbersOf(path: string): string {
  let layerSeen = false
  let expertSeen = false
  const parts = path.split('.').map((part, at, all) => {
    if (part !== '*') return part.replace(/[\\?{}]/g, '\\$&')
    if (all[at - 1] === 'experts' && !expertSeen) {
      expertSeen = true
      return '{expert}'
    }
    if (layerSeen) return '*'
    layerSeen = true
    return '{layer}'
  })
  return parts.join('.')
}

function usesEp({ expert, split }: Rule): boolean {
  return expert !== undefined || [split ?? []].flat().some(({ axis }) => axis === 'ep')
}

/** Of rules with the same pattern only the first. */
function withoutTwins(rules: readonly Rule[]): readonly Rule[] {
  const seen = new Set<string>()
  return rules.filter(({ match }) => !seen.has(match as string) && seen.add(match as string))
}
