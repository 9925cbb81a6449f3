import { checkArgument, checkOptions, escapeGlob, rules as known } from '@onecopy/safetensors'
import { PlacementError } from './errors.ts'
import { nearestHint, show } from './fields.ts'
import { expertSplit } from './linear-rules.ts'
import { nearest } from './nearest.ts'
import { type MeshShape, type Policy, PREFIX, type Rule, type Split, type StageChoice } from './policy.ts'
import { type PlanNames, pipelineStages } from './pp-plan.ts'
import { readMesh } from './read-policy.ts'
import { type Parameter, styleFor, TP_STYLES, type TpStyle, tpSplit } from './tp-styles.ts'

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
  /**
   * What stands before the plan's names in the checkpoint, since a base model's plan leaves it out.
   * @default found by matching when planning: `model.`, `language_model.model.`, `transformer.`, nothing …
   */
  readonly prefix?: string
  /** As in a policy: names of one and the same tensor. @default none */
  readonly tied?: readonly (readonly string[])[]
}

/** An entry of a plan, read. */
interface Entry {
  readonly name: string // as the plan has it
  readonly field: string
  readonly style: TpStyle
  readonly byExpert: boolean // cut along ep as well
}

/** What is null is checked as a part of the policy. */
const OPTIONS = {
  ...{ pp: null, tp: null, ep: null, replicas: null, tied: null },
  ...{ epPlan: known.object, ppPlan: known.object, prefix: known.text },
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
 * @throws TypeError for an option that there is not, or of the wrong kind; PlacementError POLICY_INVALID for a style that there is not, for entries that are no text, for a `ppPlan`
 * without layers, and for several positions along ep when no entry places experts
 */
export function fromTpPlan(plan: TpPlan, options: TpPlanOptions = {}): Policy {
  checkArgument('The plan of fromTpPlan()', plan, known.object)
  checkOptions('fromTpPlan()', options, OPTIONS)
  const { epPlan = {}, ppPlan, prefix, tied, ...axes } = options
  const mesh = readMesh(axes)
  const { tp = 1, ep = 1, pp = 1 } = mesh
  const tpStyles = readPlan(plan, 'plan')
  const epStyles = readPlan(epPlan, 'epPlan')
  const names = namesIn(prefix, [...tpStyles.keys(), ...epStyles.keys(), ...Object.keys(ppPlan ?? {})])
  const stages = pipelineStages(ppPlan, pp, names)
  const entries = Array.from(new Map([...tpStyles, ...epStyles]), ([name, style]): Entry => {
    const field = `${epStyles.has(name) ? 'epPlan' : 'plan'}[${JSON.stringify(name)}]`
    if (style.kind !== 'experts') return { name, field, style, byExpert: false }
    const other = tpStyles.get(name)
    const cut = other === undefined || other.kind === 'experts' ? null : other
    if (cut === null && ep === 1 && tp > 1) {
      const what = `${field} places experts along ep, along which the mesh has one position`
      throw new PlacementError('POLICY_INVALID', `${what}: every worker would hold all experts; give ep`, { field })
    }
    return { name, field, style: cut ?? { kind: 'whole' }, byExpert: true }
  })
  const rules = entries.flatMap((entry) => rulesOf(entry, stages.of, names))
  if (ep > 1 && !rules.some(usesEp)) {
    const message = `The mesh has ${ep} positions along ep, but no entry of the plans places experts: give epPlan`
    throw new PlacementError('POLICY_INVALID', message, { field: 'epPlan' })
  }
  return { mesh, rules: [...withoutTwins(rules), ...stages.rules], ...(tied !== undefined && { tied }) }
}

/** A whole model's plan has the prefix already: the same text before all names of its usual modules. */
const WITH_PREFIX = /^([^*]+\.)(?:embed_tokens|layers|blocks|block|h|norm)(?:\.|$)/

/** The head is no part of the base model, and stands beside it or around it. */
function namesIn(prefix: string | undefined, names: readonly string[]): PlanNames {
  const before = new Set(names.flatMap((name) => WITH_PREFIX.exec(name)?.[1] ?? []))
  const own = prefix ?? (before.size === 1 ? [...before][0]! : '')
  const isHead = (name: string) => name === 'lm_head' || name.startsWith('lm_head.')
  return {
    base: (name) => (own !== '' && name.startsWith(own) ? name.slice(own.length) : name),
    globOf: (glob, name) => {
      if (isHead(name)) return `{,**.}${glob}`
      return (prefix === undefined ? PREFIX : escapeGlob(prefix)) + glob
    },
  }
}

function readPlan(plan: TpPlan, field: string): ReadonlyMap<string, TpStyle> {
  return new Map(
    Object.entries(plan).map(([name, style]) => {
      const known = typeof style === 'string' && Object.hasOwn(TP_STYLES, style) ? TP_STYLES[style] : undefined
      if (known !== undefined && name !== '') return [name, known]
      const place = `${field}[${JSON.stringify(name)}]`
      if (name === '') throw new PlacementError('POLICY_INVALID', `${place} names no module`, { field: place })
      const candidates = typeof style === 'string' ? nearest(style, Object.keys(TP_STYLES)) : []
      const message = `${place} is ${show(style)}, which is no style of transformers${nearestHint(candidates)}`
      throw new PlacementError('POLICY_INVALID', message, { field: place, candidates })
    }),
  )
}

function rulesOf(
  entry: Entry,
  stageOf: (name: string) => StageChoice | readonly StageChoice[] | null,
  names: PlanNames,
): Rule[] {
  const name = names.base(entry.name)
  const style = styleFor(name, entry.style)
  const glob = names.globOf(numbersOf(name), name)
  const stage = stageOf(name)
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
      // Modules without weights of their own have entries too, which place nothing.
      entry: entry.style.kind === 'whole' && !entry.byExpert ? 'ppPlan' : entry.field,
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
