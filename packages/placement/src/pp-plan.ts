import { escapeGlob, moduleGlob } from '@onecopy/safetensors'
import { PlacementError } from './errors.ts'
import type { Rule, StageChoice } from './policy.ts'

/** Where the modules around the layers go. */
export interface PipelineStages {
  /** @returns the stages of a tensor or module of that name, null for those that have a layer's number */
  of(path: string): StageChoice | readonly StageChoice[] | null
  /** For everything that no other rule places: whole, in its stages. */
  readonly rules: readonly Rule[]
}

/** How names of plans are written in the checkpoint. */
export interface PlanNames {
  /** The name without what stands before those of the base model. */
  base(name: string): string
  /** A glob for a name without it, and whatever stands before that in the checkpoint. */
  globOf(glob: string, name: string): string
}

/** What transformers' models run one after the other, unless their plan says something else. */
const USUAL_MODULES = ['embed_tokens', 'layers', 'norm']

/** Names of the module that has the layers. */
const LAYERS = /^(?:.*\.)?(?:layers|blocks|block|h)$/

/** Behind everything else, and outside of the base model. */
const HEAD = 'lm_head'

/**
 * Reads transformers' `base_model_pp_plan`.
 *
 * @param ppPlan only its keys, in their order
 * @param names how names of the plan are written in the checkpoint
 * @throws PlacementError POLICY_INVALID when no module of the plan has the layers
 */
export function pipelineStages(
  ppPlan: Readonly<Record<string, unknown>> | undefined,
  stageCount: number,
  { base, globOf }: PlanNames,
): PipelineStages {
  const modules = ppPlan === undefined ? USUAL_MODULES : Object.keys(ppPlan).map(base)
  const layersAt = modules.findIndex((name) => LAYERS.test(name))
  if (layersAt === -1) {
    const message = `ppPlan has no module with layers among ${modules.join(', ') || 'none'}: it must have one named layers, blocks or h`
    throw new PlacementError('POLICY_INVALID', message, { field: 'ppPlan' })
  }
  const first = modules.slice(0, layersAt)
  const last = [...new Set([...modules.slice(layersAt + 1), HEAD])]
  const layers = `${modules[layersAt]!}.`
  const everywhere = stageCount === 1 ? ('first' as const) : Array.from({ length: stageCount }, (_, stage) => stage)

  const of = (path: string): StageChoice | readonly StageChoice[] | null => {
    if (path.startsWith(layers) && path.length > layers.length) return null
    if (first.some((name) => within(path, name))) return 'first'
    return last.some((name) => within(path, name)) ? 'last' : everywhere
  }
  const entry = 'ppPlan'
  const around = [...first, ...last].map((name): Rule => {
    return { match: globOf(moduleGlob(name), name), replicate: true, stage: of(name) ?? everywhere, entry }
  })
  const byLayer: Rule = {
    match: globOf(`${escapeGlob(layers)}{layer}.**`, layers),
    replicate: true,
    // With several stages everything would go to all of them.
    entry: stageCount === 1 ? entry : `ppPlan["${modules[layersAt]!}"]`,
  }
  return { of, rules: [byLayer, ...around, { match: '**', replicate: true, stage: everywhere, entry }] }
}

/** Whether a name is a module's own or that of something in it. */
function within(name: string, module: string): boolean {
  return name === module || name.startsWith(`${module}.`)
}
