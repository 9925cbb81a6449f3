import { checkArgument, rules } from '@onecopy/safetensors'
import { ACT_ORDER_COMPANIONS, DEFAULT_COMPANIONS } from './companions.ts'
import { columnRules, expertSplit, rowRules, wholeRule } from './linear-rules.ts'
import {
  hasActOrder,
  headSize,
  type ModelConfig,
  readModelConfig,
  refuseCutHeads,
  vocabularyDivides,
} from './model-config.ts'
import type { MeshShape, Policy, Rule, StageChoice } from './policy.ts'
import { readMesh } from './read-policy.ts'

/** Families whose checkpoints there are rules for. */
export type PresetName = 'llama' | 'qwen' | 'qwen-moe' | 'mixtral' | 'deepseek'

/**
 * A policy for a mesh and a model's `config.json`, such as `checkpoint.config`: heads are kept whole, and few key and value heads
 * repeat. Without the configuration attention cannot be cut, which planning refuses.
 */
export type Preset = (mesh: MeshShape, config?: ModelConfig | null) => Policy

/** Before the names of a language model, alone or as a part of a model that also sees or hears. */
const BASE = '{,model.,language_model.,language_model.model.,model.language_model.}'
const LAYER = `${BASE}layers.{layer}`
const HEAD = '{,language_model.}lm_head'
/** Of a family's rules some match nothing in any checkpoint. */
const ENTRY = 'the rules of the preset'
const HEAD_ENTRY =
  'lm_head, which the last stage needs: give the config.json, whose tie_word_embeddings says where it is'
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
 * Each throws PlacementError POLICY_INVALID for a mesh that is none, and when the configuration says that tp would cut
 * attention heads; TypeError and RangeError for a configuration that is none.
 */
export const PRESETS: Readonly<Record<PresetName, Preset>> = {
  llama: preset(denseRules),
  qwen: preset(denseRules),
  'qwen-moe': preset((mesh, config) => [
    ...attentionRules(mesh, config),
    ...mixtureRules(),
    wholeRule(`${LAYER}.mlp.shared_expert_gate.*`),
    ...nextTokenRules(mesh, config),
  ]),
  mixtral: preset((mesh, config) => {
    const moe = `${LAYER}.block_sparse_moe`
    return [
      ...attentionRules(mesh, config),
      ...columnRules(`${moe}.experts.{expert}.{w1,w3}`),
      ...rowRules(`${moe}.experts.{expert}.w2`),
      wholeRule(`${moe}.experts.{expert}.**`),
      wholeRule(`${moe}.gate.*`),
    ]
  }),
  deepseek: preset((mesh, config) => [
    ...latentAttentionRules(mesh, config),
    ...mixtureRules(),
    ...nextTokenRules(mesh, config),
  ]),
}

/**
 * The family of a checkpoint.
 *
 * @param names of its tensors
 * @param config its `config.json`; a `model_type` that is known decides
 * @returns null for names of no family that there is a preset for
 */
export function presetFor(names: readonly string[], config?: ModelConfig | null): PresetName | null {
  checkArgument('The names of presetFor()', names, rules.listOf(rules.text))
  const { model_type } = readModelConfig(config)
  if (model_type !== undefined && Object.hasOwn(MODEL_TYPES, model_type)) return MODEL_TYPES[model_type]!
  const some = (part: RegExp) => names.some((name) => part.test(name))
  if (some(/\.self_attn\.kv_a_proj_with_mqa\./)) return 'deepseek'
  if (!some(/\.self_attn\.q_proj\./)) return null
  if (some(/\.block_sparse_moe\.experts\.\d+\.w1\./)) return 'mixtral'
  if (some(/\.mlp\.experts\.(?:\d+\.gate_proj\.|gate_up_proj$)/)) return 'qwen-moe'
  if (!some(/\.mlp\.gate_proj\./)) return null
  return some(/\.self_attn\.(?:q_norm\.|q_proj\.bias$)/) ? 'qwen' : 'llama'
}

function denseRules(mesh: MeshShape, config: ModelConfig): readonly Rule[] {
  return [...attentionRules(mesh, config), ...gatedRules(`${LAYER}.mlp`)]
}

/** The rules of a family with what all families share. */
function preset(rulesOf: (mesh: MeshShape, config: ModelConfig) => readonly Rule[]): Preset {
  return (givenMesh, givenConfig) => {
    const mesh = readMesh(givenMesh)
    const config = readModelConfig(givenConfig)
    const vocabulary = vocabularyDivides(config, mesh) ? columnRules : wholeModule
    const tied = config.tie_word_embeddings === true
    const both: readonly StageChoice[] = ['first', 'last']
    const actOrder = hasActOrder(config)
    const family = [
      ...rulesOf(mesh, config),
      wholeRule(`${LAYER}.**norm.{weight,bias}`),
      wholeRule(`${LAYER}.self_attn.rotary_emb.inv_freq`),
      // What belongs to quantised weights and has no dimension of theirs.
      wholeRule(`${LAYER}.**.{k_scale,v_scale,kv_scale,weight_shape,weight_format}`),
      wholeRule(`${LAYER}.**.weight.{quant_map,nested_quant_map,quant_state.*}`),
      ...vocabulary(`${BASE}embed_tokens`, { stage: tied ? both : 'first' }),
      wholeRule(`${BASE}norm.{weight,bias}`, { stage: 'last' }),
      wholeRule(`${HEAD}.weight_shape`, { stage: 'last' }),
      wholeRule(`${ENCODERS}.**`, { stage: 'first' }),
    ]
    const head = vocabulary(HEAD, { stage: tied ? both : 'last' })
    // Without a head of its own, the last of several stages needs the embedding.
    const headEntry = (mesh.pp ?? 1) > 1 && !tied ? HEAD_ENTRY : ENTRY
    return {
      mesh,
      rules: [
        ...family.map((rule): Rule => ({ ...rule, entry: ENTRY })),
        ...head.map((rule): Rule => ({ ...rule, entry: headEntry })),
      ],
      ...(actOrder !== null && { companions: actOrder ? ACT_ORDER_COMPANIONS : DEFAULT_COMPANIONS }),
    }
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
  const unit = headSize(config)
  return [
    ...columnRules(`${LAYER}.self_attn.{q,k,v}_proj`, { unit }),
    ...rowRules(`${LAYER}.self_attn.o_proj`, inputsOf(unit)),
  ]
}

/** Multi-head latent attention: what leads to the latent vectors is small, and everybody needs all of it. */
function latentAttentionRules(mesh: MeshShape, config: ModelConfig): readonly Rule[] {
  refuseCutHeads(config, mesh)
  const { qk_nope_head_dim: nope, qk_rope_head_dim: rope, v_head_dim: value, num_attention_heads: heads } = config
  const sum = (a: number | undefined, b: number | undefined): number | null => {
    return heads === undefined || a === undefined || b === undefined ? null : a + b
  }
  const [query, keyValue] = [sum(nope, rope), sum(nope, value)]
  const attention = `${LAYER}.self_attn`
  return [
    wholeRule(`${attention}.{q_a_proj,kv_a_proj_with_mqa}.*`),
    wholeRule(`${attention}.indexer.**`), // of sparse attention, from V3.2 on
    ...columnRules(`${attention}.{q_b_proj,q_proj}`, { unit: query }),
    ...columnRules(`${attention}.kv_b_proj`, { unit: keyValue }),
    ...rowRules(`${attention}.o_proj`, inputsOf(keyValue)),
  ]
}

/** The inputs behind heads divide as the heads do, which is known already, or not known at all. */
function inputsOf(unit: number | null): { readonly unit?: null } {
  return unit === null ? { unit } : {}
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
