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
 * @param prefix what stands before them in the checkpoint
 * @param tied names of one and the same tensor, which is needed wherever any of them is
 * @throws PlacementError POLICY_INVALID when no module of the plan has the layers
 */
export function pipelineStages(
  ppPlan: Readonly<Record<string, unknown>> | undefined,
  prefix: string,
  stageCount: number,
  tied: readonly (readonly string[])[],
): PipelineStages {
  const modules = ppPlan === undefined ? USUAL_MODULES : Object.keys(ppPlan)
  const layersAt = modules.findIndex((name) => LAYERS.test(name))
  if (layersAt === -1) {
    const message = `ppPlan has no module with layers among ${modules.join(', ') || 'none'}: it must have one named layers, blocks or h`
    throw new PlacementError('POLICY_INVALID', message, { field: 'ppPlan' })
  }
  const inCheckpoint = (name: string) => (name === HEAD || name.startsWith(prefix) ? name : prefix + name)
  const first = modules.slice(0, layersAt).map(inCheckpoint)
  const last = [...new Set([...modules.slice(layersAt + 1).map(inCheckpoint), HEAD])]
  const layers = `${inCheckpoint(modules[layersAt]!)}.`
  const everywhere = stageCount === 1 ? ('first' as const) : Array.from({ length: stageCount }, (_, stage) => stage)

  const alone = (path: string): StageChoice | null => {
    if (first.some((name) => within(path, name))) return 'first'
    return last.some((name) => within(path, name)) ? 'last' : null
  }
  const of = (path: string): StageChoice | readonly StageChoice[] | null => {
    if (path.startsWith(layers) && path.length > layers.length) return null
    const partners = tied.filter((group) => group.some((name) => within(name, path))).flat()
    const choices = [alone(path), ...partners.map(alone)].filter((choice) => choice !== null)
    const distinct = [...new Set(choices)]
    if (distinct.length === 0) return everywhere
    return distinct.length === 1 ? distinct[0]! : distinct
  }
  const around = [...first, ...last].map((name): Rule => {
    return { match: moduleGlob(name), replicate: true, stage: of(name) ?? everywhere }
  })
  return {
    of,
    rules: [
      { match: `${escapeGlob(layers)}{layer}.**`, replicate: true },
      ...around,
      { match: '**', replicate: true, stage: everywhere },
    ],
  }
}

/** Whether a name is a module's own or that of something in it. */
function within(name: string, module: string): boolean {
  return name === module || name.startsWith(`${module}.`)
}
