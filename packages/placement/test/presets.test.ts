import { describe, expect, test } from 'vitest'
import type { ModelConfig } from '../src/model-config.ts'
import type { MeshShape, Policy } from '../src/policy.ts'
import { PRESETS, type PresetName, presetFor } from '../src/presets.ts'
import { readPolicy } from '../src/read-policy.ts'
import { firstRule, tp } from './first-rule.ts'

const MESH: MeshShape = { pp: 2, tp: 2, ep: 4 }
const policyOf = (name: PresetName, config?: ModelConfig): Policy => {
  const policy = PRESETS[name](MESH, config)
  expect(readPolicy(policy)).toEqual(policy)
  return policy
}

const NORMS = ['input_layernorm.weight', 'post_attention_layernorm.weight']
const ATTENTION = ['q', 'k', 'v', 'o'].map((name) => `self_attn.${name}_proj.weight`)
const MLP = ['gate', 'up', 'down'].map((name) => `mlp.${name}_proj.weight`)
const AROUND = ['model.embed_tokens.weight', 'model.norm.weight', 'lm_head.weight']
const inLayer = (layer: number, names: readonly string[]) => names.map((name) => `model.layers.${layer}.${name}`)
const scaled = (names: readonly string[]) => names.flatMap((name) => [name, `${name}_scale_inv`])

/** Names as in the index files of meta-llama/Meta-Llama-3-70B, Qwen/Qwen2-7B, Qwen/Qwen3-30B-A3B, ... */
const NAMES: Readonly<Record<PresetName, readonly string[]>> = {
  llama: [...AROUND, ...inLayer(0, [...NORMS, ...ATTENTION, ...MLP])],
  qwen: [
    ...AROUND,
    ...inLayer(0, [...NORMS, ...ATTENTION, ...MLP, 'self_attn.q_norm.weight', 'self_attn.k_norm.weight']),
    ...inLayer(1, [...NORMS, ...ATTENTION, ...MLP, ...['q', 'k', 'v'].map((name) => `self_attn.${name}_proj.bias`)]),
  ],
  'qwen-moe': [
    ...AROUND,
    ...inLayer(0, [...NORMS, ...ATTENTION, 'self_attn.q_norm.weight', 'self_attn.k_norm.weight', 'mlp.gate.weight']),
    ...inLayer(
      0,
      ['gate', 'up', 'down'].map((name) => `mlp.experts.127.${name}_proj.weight`),
    ),
    // Qwen1.5-MoE and Qwen2-57B-A14B have these as well.
    ...inLayer(
      0,
      ['gate', 'up', 'down'].map((name) => `mlp.shared_expert.${name}_proj.weight`),
    ),
    ...inLayer(0, ['mlp.shared_expert_gate.weight']),
  ],
  mixtral: [
    ...AROUND,
    ...inLayer(0, [...NORMS, ...ATTENTION, 'block_sparse_moe.gate.weight']),
    ...inLayer(
      0,
      ['w1', 'w2', 'w3'].map((name) => `block_sparse_moe.experts.7.${name}.weight`),
    ),
  ],
  deepseek: [
    ...AROUND,
    ...inLayer(0, scaled(MLP)),
    ...inLayer(3, [
      ...NORMS,
      ...scaled(['q_a', 'q_b', 'kv_b', 'o'].map((name) => `self_attn.${name}_proj.weight`)),
      ...scaled(['self_attn.kv_a_proj_with_mqa.weight']),
      ...['self_attn.q_a_layernorm.weight', 'self_attn.kv_a_layernorm.weight'],
      ...['mlp.gate.weight', 'mlp.gate.e_score_correction_bias'],
      ...scaled(['gate', 'up', 'down'].map((name) => `mlp.experts.255.${name}_proj.weight`)),
      ...scaled(['gate', 'up', 'down'].map((name) => `mlp.shared_experts.${name}_proj.weight`)),
    ]),
    ...inLayer(61, ['embed_tokens.weight', 'enorm.weight', 'hnorm.weight', 'eh_proj.weight']),
    ...inLayer(61, ['shared_head.norm.weight', 'shared_head.head.weight']),
  ],
}
const FAMILIES = Object.keys(NAMES) as PresetName[]

describe('PRESETS', () => {
  test.each(FAMILIES)('%s covers every tensor of its checkpoints, scales being companions', (family) => {
    const policy = policyOf(family)
    const names = NAMES[family].filter((name) => !name.endsWith('_scale_inv'))
    expect(names.filter((name) => firstRule(policy, name) === undefined)).toEqual([])
  })

  test.each(FAMILIES)('%s covers its checkpoints inside of a larger model', (family) => {
    const policy = policyOf(family)
    for (const prefix of ['language_model.', 'language_model.model.', 'model.language_model.', '']) {
      const names = NAMES[family].filter((name) => name.startsWith('model.') && !name.endsWith('_scale_inv'))
      const renamed = names.map((name) => name.replace(/^model\./, prefix))
      expect(renamed.filter((name) => firstRule(policy, name) === undefined)).toEqual([])
    }
    expect(firstRule(policy, 'vision_tower.encoder.layers.0.self_attn.q_proj.weight')).toEqual({
      replicate: true,
      stage: 'first',
    })
  })

  test.each(FAMILIES)('%s does not cover what it does not know', (family) => {
    const policy = policyOf(family)
    for (const name of ['model.layers.0.self_attn.qkv_proj.weight', 'model.layers.0.mixer.A_log', 'score.weight']) {
      expect(firstRule(policy, name)).toBeUndefined()
    }
  })

  test('cut matrices in pairs, and vocabularies', () => {
    const config = { head_dim: 2, num_attention_heads: 4 }
    const rule = (name: string) => firstRule(policyOf('llama', config), name)
    expect(rule('model.layers.0.self_attn.q_proj.weight')).toEqual({ split: tp(0, { unit: 2 }) })
    expect(rule('model.layers.0.self_attn.o_proj.weight')).toEqual({ split: tp(1) })
    expect(rule('model.layers.0.mlp.up_proj.weight')).toEqual({ split: tp(0) })
    expect(rule('model.layers.0.mlp.down_proj.weight')).toEqual({ split: tp(1) })
    expect(rule('model.layers.0.input_layernorm.weight')).toEqual({ replicate: true })
    expect(rule('model.embed_tokens.weight')).toEqual({ split: tp(0), stage: 'first' })
    expect(rule('model.norm.weight')).toEqual({ replicate: true, stage: 'last' })
    expect(rule('lm_head.weight')).toEqual({ split: tp(0), stage: 'last' })
  })

  test('keep heads whole when the configuration says how large they are', () => {
    const config = { hidden_size: 8192, num_attention_heads: 64, num_key_value_heads: 8, vocab_size: 128_256 }
    const policy = policyOf('llama', config)
    for (const name of ['q_proj.weight', 'k_proj.weight', 'v_proj.bias']) {
      expect(firstRule(policy, `model.layers.0.self_attn.${name}`)).toEqual({ split: tp(0, { unit: 128 }) })
    }
    expect(firstRule(policy, 'model.layers.0.self_attn.k_proj.qweight')).toEqual({ split: tp(1, { unit: 128 }) })
    expect(firstRule(policy, 'model.layers.0.mlp.up_proj.weight')).toEqual({ split: tp(0) })
  })

  test('leave open which positions stay together when nothing says how large heads are', () => {
    for (const family of FAMILIES) {
      for (const module of [family === 'deepseek' ? 'q_b_proj' : 'q_proj', 'o_proj']) {
        expect(firstRule(policyOf(family), `model.layers.0.self_attn.${module}.weight`)?.split).toMatchObject({
          unit: null,
        })
      }
    }
  })

  test('refuse a mesh and a configuration that are none', () => {
    for (const family of FAMILIES) {
      expect(() => PRESETS[family]({ tpp: 2 } as MeshShape)).toThrow(
        expect.objectContaining({ code: 'POLICY_INVALID', field: 'mesh.tpp' }),
      )
      expect(() => PRESETS[family]({ tp: 2 }, 'config.json' as ModelConfig)).toThrow(TypeError)
    }
  })

  test('refuse to cut query heads', () => {
    for (const family of FAMILIES) {
      expect(() => PRESETS[family]({ tp: 3 }, { num_attention_heads: 32 })).toThrow(
        /attention heads: tp must divide them/,
      )
    }
  })

  test('leave a vocabulary whole that tp does not divide', () => {
    const rule = (name: string) => firstRule(policyOf('deepseek', { vocab_size: 50_257 }), name)
    expect(rule('model.embed_tokens.weight')).toEqual({ replicate: true, stage: 'first' })
    expect(rule('lm_head.weight')).toEqual({ replicate: true, stage: 'last' })
    expect(rule('model.layers.61.shared_head.head.weight')).toEqual({ replicate: true })
  })

  test('have tied embeddings on both ends', () => {
    const policy = policyOf('qwen', { tie_word_embeddings: true })
    expect(firstRule(policy, 'model.embed_tokens.weight')).toEqual({ split: tp(0), stage: ['first', 'last'] })
  })

  test('place experts along ep and cut them along tp, one by one or fused', () => {
    const rule = (family: PresetName, name: string) => firstRule(policyOf(family), `model.layers.4.${name}`)
    expect(rule('mixtral', 'block_sparse_moe.experts.7.w1.weight')).toEqual({ split: tp(0), expert: 'ep' })
    expect(rule('mixtral', 'block_sparse_moe.experts.7.w2.weight')).toEqual({ split: tp(1), expert: 'ep' })
    expect(rule('qwen-moe', 'mlp.experts.7.up_proj.weight')).toEqual({ split: tp(0), expert: 'ep' })
    expect(rule('qwen-moe', 'mlp.experts.7.down_proj.weight_shape')).toEqual({ replicate: true, expert: 'ep' })
    expect(rule('qwen-moe', 'mlp.experts.gate_up_proj')).toEqual({
      split: [{ dimension: 0, axis: 'ep' }, tp(1, { blocks: 2 })],
    })
    expect(rule('deepseek', 'mlp.shared_experts.up_proj.weight')).toEqual({ split: tp(0) })
    expect(rule('deepseek', 'mlp.gate.weight')).toEqual({ replicate: true })
  })

  test('of deepseek keep the latent projections whole and the heads together', () => {
    const config = { qk_nope_head_dim: 128, qk_rope_head_dim: 64, v_head_dim: 128, num_attention_heads: 128 }
    const rule = (name: string) => firstRule(policyOf('deepseek', config), `model.layers.4.self_attn.${name}.weight`)
    expect(rule('q_a_proj')).toEqual({ replicate: true })
    expect(rule('kv_a_proj_with_mqa')).toEqual({ replicate: true })
    expect(rule('q_b_proj')).toEqual({ split: tp(0, { unit: 192 }) })
    expect(rule('kv_b_proj')).toEqual({ split: tp(0, { unit: 256 }) })
    expect(rule('o_proj')).toEqual({ split: tp(1) })
    expect(rule('indexer.wq_b')).toEqual({ replicate: true })
  })

  test('cover what quantisation adds', () => {
    const policy = policyOf('llama')
    for (const name of ['qweight', 'weight_packed', 'weight_shape', 'weight.quant_map']) {
      expect([name, firstRule(policy, `model.layers.0.mlp.up_proj.${name}`)]).not.toEqual([name, undefined])
    }
    expect(firstRule(policy, 'model.layers.0.mlp.up_proj.weight.quant_state.bitsandbytes__nf4')).toEqual({
      replicate: true,
    })
    expect(firstRule(policy, 'model.layers.0.self_attn.k_proj.k_scale')).toEqual({ replicate: true })
  })
})

describe('presetFor()', () => {
  test.each(FAMILIES)('recognises %s by its names', (family) => {
    expect(presetFor(NAMES[family])).toBe(family)
  })

  test('believes a model type that it knows, and else the names', () => {
    expect(presetFor(NAMES.llama, { model_type: 'qwen3' })).toBe('qwen')
    expect(presetFor(NAMES.llama, { model_type: 'granite' })).toBe('llama')
    expect(presetFor(NAMES.llama, { model_type: 'toString' })).toBe('llama')
  })

  test('recognises fused experts, and nothing in other names', () => {
    const fused = ['model.layers.0.self_attn.q_proj.weight', 'model.layers.0.mlp.experts.gate_up_proj']
    expect(presetFor(fused)).toBe('qwen-moe')
    expect(presetFor(['transformer.h.0.attn.c_attn.weight'])).toBeNull()
    expect(presetFor(['model.layers.0.self_attn.qkv_proj.weight', 'model.layers.0.mlp.gate_up_proj.weight'])).toBeNull()
    expect(presetFor([])).toBeNull()
  })
})
