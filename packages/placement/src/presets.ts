import { columnRules, expertSplit, rowRules, wholeRule } from './linear-rules.ts'
import { headSize, type ModelConfig, packedOutputs, refuseCutHeads, vocabularyDivides } from './model-config.ts'
import type { MeshShape, Policy, Rule, StageChoice } from './policy.ts'

/** Families whose checkpoints there are rules for. */
export type PresetName = 'llama' | 'qwen' | 'qwen-moe' | 'mixtral' | 'deepseek'

/** A policy for a mesh; with the model's `config.json`, heads are kept whole and few key and value heads repeat. */
export type Preset = (mesh: MeshShape, config?: ModelConfig) => Policy

/** Before the names of a language model, alone or as a part of a model that also sees or hears. */
const BASE = '{,model.,language_model.,language_model.model.,model.language_model.}'
const LAYER = `${BASE}layers.{layer}`
const HEAD = '{,language_model.}lm_head'
/** What turns pictures and sounds into embeddings, which run before the first layer. */
const ENCODERS = '{,model.}{vision_tower,vision_model,visual,audio_tower,multi_modal_projector}'

/** Family by `model_type`, where names alone would do as well or could mislead. */
const MODEL_TYPES: Readonly<Record<string, PresetName>> = {
  llama: 'llama',
  mistral: 'llama',
  gemma: 'llama',
  gemma2: 'llama',
  gemma3_text: 'qwen',
  qwen2: 'qwen',
  qwen3: 'qwen',
  qwen2_moe: 'qwen-moe',
  qwen3_moe: 'qwen-moe',
  mixtral: 'mixtral',
  deepseek_v2: 'deepseek',
  deepseek_v3: 'deepseek',
  deepseek_v32: 'deepseek',
  kimi_k2: 'deepseek',
}

/**
 * Rules for the families of models that are served most, as their checkpoints on the Hugging Face Hub name things.
 * Vocabularies and the outputs of the first matrix of each pair are cut along tp, the inputs of the second; experts are
 * placed along ep and cut along tp. A tensor of another architecture is not covered, and so an error when planning.
 *
 * Each throws PlacementError POLICY_INVALID when the configuration says that tp would cut attention heads.
 */
export const PRESETS: Readonly<Record<PresetName, Preset>> = {
  llama: densePolicy,
  qwen: densePolicy,
  'qwen-moe': (mesh, config = {}) => {
    return policyOf(mesh, config, [
      ...attentionRules(mesh, config),
      ...mixtureRules(),
      wholeRule(`${LAYER}.mlp.shared_expert_gate.*`),
      ...nextTokenRules(mesh, config),
    ])
  },
  mixtral: (mesh, config = {}) => {
    const moe = `${LAYER}.block_sparse_moe`
    return policyOf(mesh, config, [
      ...attentionRules(mesh, config),
      ...columnRules(`${moe}.experts.{expert}.{w1,w3}`),
      ...rowRules(`${moe}.experts.{expert}.w2`),
      wholeRule(`${moe}.experts.{expert}.**`),
      wholeRule(`${moe}.gate.*`),
    ])
  },
  deepseek: (mesh, config = {}) => {
    return policyOf(mesh, config, [
      ...latentAttentionRules(mesh, config),
      ...mixtureRules(),
      ...nextTokenRules(mesh, config),
    ])
  },
}

/**
 * The family of a checkpoint.
 *
 * @param names of its tensors
 * @param config its `config.json`; a `model_type` that is known decides
 * @returns null for names of no family that there is a preset for
 */
export function presetFor(names: readonly string[], config: ModelConfig = {}): PresetName | null {
  const { model_type } = config
  if (model_type !== undefined && Object.hasOwn(MODEL_TYPES, model_type)) return MODEL_TYPES[model_type]!
  const some = (part: RegExp) => names.some((name) => part.test(name))
  if (some(/\.self_attn\.kv_a_proj_with_mqa\./)) return 'deepseek'
  if (!some(/\.self_attn\.q_proj\./)) return null
  if (some(/\.block_sparse_moe\.experts\.\d+\.w1\./)) return 'mixtral'
  if (some(/\.mlp\.experts\.(?:\d+\.gate_proj\.|gate_up_proj$)/)) return 'qwen-moe'
  if (!some(/\.mlp\.gate_proj\./)) return null
  return some(/\.self_attn\.(?:q_norm\.|q_proj\.bias$)/) ? 'qwen' : 'llama'
}

function densePolicy(mesh: MeshShape, config: ModelConfig = {}): Policy {
  return policyOf(mesh, config, [...attentionRules(mesh, config), ...gatedRules(`${LAYER}.mlp`)])
}

/** The rules of a family with what all families share. */
function policyOf(mesh: MeshShape, config: ModelConfig, rules: readonly Rule[]): Policy {
  const vocabulary = vocabularyDivides(config, mesh) ? columnRules : wholeModule
  const tied = config.tie_word_embeddings === true
  const both: readonly StageChoice[] = ['first', 'last']
  return {
    mesh,
    rules: [
      ...rules,
      wholeRule(`${LAYER}.**norm.{weight,bias}`),
      wholeRule(`${LAYER}.self_attn.rotary_emb.inv_freq`),
      // What belongs to quantised weights and has no dimension of theirs.
      wholeRule(`${LAYER}.**.{k_scale,v_scale,kv_scale,weight_shape,weight_g_idx,weight_format}`),
      wholeRule(`${LAYER}.**.weight.{quant_map,nested_quant_map,quant_state.*}`),
      ...vocabulary(`${BASE}embed_tokens`, { stage: tied ? both : 'first' }),
      wholeRule(`${BASE}norm.{weight,bias}`, { stage: 'last' }),
      ...vocabulary(HEAD, { stage: tied ? both : 'last' }),
      wholeRule(`${HEAD}.{weight_shape,weight_g_idx}`, { stage: 'last' }),
      wholeRule(`${ENCODERS}.**`, { stage: 'first' }),
    ],
  }
}

function wholeModule(
  module: string,
  options: { readonly stage?: StageChoice | readonly StageChoice[] },
): readonly Rule[] {
  return [wholeRule(`${module}.{weight,weight_packed,qweight,bias}`, options)]
}

/** Attention with a projection each for queries, keys, values and output. */
function attentionRules(mesh: MeshShape, config: ModelConfig): readonly Rule[] {
  refuseCutHeads(config, mesh)
  const heads = { unit: headSize(config), packedOutputs: packedOutputs(config) }
  return [...columnRules(`${LAYER}.self_attn.{q,k,v}_proj`, heads), ...rowRules(`${LAYER}.self_attn.o_proj`)]
}

/** Multi-head latent attention: what leads to the latent vectors is small, and everybody needs all of it. */
function latentAttentionRules(mesh: MeshShape, config: ModelConfig): readonly Rule[] {
  refuseCutHeads(config, mesh)
  const { qk_nope_head_dim: nope, qk_rope_head_dim: rope, v_head_dim: value } = config
  const query = nope !== undefined && rope !== undefined ? nope + rope : undefined
  const keyValue = nope !== undefined && value !== undefined ? nope + value : undefined
  const packed = packedOutputs(config)
  const attention = `${LAYER}.self_attn`
  return [
    wholeRule(`${attention}.{q_a_proj,kv_a_proj_with_mqa}.*`),
    wholeRule(`${attention}.indexer.**`), // of sparse attention, from V3.2 on
    ...columnRules(`${attention}.{q_b_proj,q_proj}`, { unit: query, packedOutputs: packed }),
    ...columnRules(`${attention}.kv_b_proj`, { unit: keyValue, packedOutputs: packed }),
    ...rowRules(`${attention}.o_proj`),
  ]
}

/** A dense layer, the experts one by one or fused, and experts that every token goes through. */
function mixtureRules(): readonly Rule[] {
  const mlp = `${LAYER}.mlp`
  return [
    ...gatedRules(mlp),
    ...gatedRules(`${mlp}.{shared_expert,shared_experts}`),
    ...gatedRules(`${mlp}.experts.{expert}`),
    wholeRule(`${mlp}.experts.{expert}.**`),
    { match: `${mlp}.experts.gate_up_proj`, split: [expertSplit(), { dimension: 1, axis: 'tp', blocks: 2 }] },
    { match: `${mlp}.experts.down_proj`, split: [expertSplit(), { dimension: 2, axis: 'tp' }] },
    wholeRule(`${mlp}.gate.*`), // the router: weight, bias and e_score_correction_bias
  ]
}

/** Gate and up side by side, and down behind them. */
function gatedRules(module: string): readonly Rule[] {
  return [...columnRules(`${module}.{gate_proj,up_proj}`), ...rowRules(`${module}.down_proj`)]
}

/** The layer that predicts one token more has an embedding and a head of its own, and joins two vectors. */
function nextTokenRules(mesh: MeshShape, config: ModelConfig): readonly Rule[] {
  const vocabulary = vocabularyDivides(config, mesh) ? columnRules : wholeModule
  return [
    ...vocabulary(`${LAYER}.embed_tokens`, {}),
    ...vocabulary(`${LAYER}.shared_head.head`, {}),
    wholeRule(`${LAYER}.eh_proj.*`),
  ]
}
