import { describe, expect, test } from 'vitest'
import { oneHost } from '../src/one-host.ts'
import { planPlacement } from '../src/plan-placement.ts'
import { readPolicy } from '../src/read-policy.ts'
import { fromTpPlan, type TpPlan, type TpPlanOptions } from '../src/tp-plan.ts'
import { firstRule, tp } from './first-rule.ts'
import { indexOf } from './real-headers.ts'

const LLAMA: TpPlan = {
  'layers.*.self_attn.q_proj': 'colwise',
  'layers.*.self_attn.k_proj': 'colwise',
  'layers.*.self_attn.v_proj': 'colwise',
  'layers.*.self_attn.o_proj': 'rowwise',
  'layers.*.mlp.gate_proj': 'colwise',
  'layers.*.mlp.up_proj': 'colwise',
  'layers.*.mlp.down_proj': 'rowwise',
}
const MOE: TpPlan = {
  'layers.*.self_attn.q_proj': 'colwise',
  'layers.*.mlp.experts.gate_up_proj': 'packed_colwise',
  'layers.*.mlp.experts.down_proj': 'rowwise',
  'layers.*.mlp.experts': 'moe_tp_experts',
}
const MOE_EP: TpPlan = {
  'layers.*.mlp.gate': 'ep_router',
  'layers.*.mlp.experts.gate_up_proj': 'grouped_gemm',
  'layers.*.mlp.experts.down_proj': 'grouped_gemm',
  'layers.*.mlp.experts': 'moe_tp_experts',
}
const ep = { dimension: 0, axis: 'ep' }
/** Outputs, or what there is of vectors. */
const rows = tp(-2, { vectors: true })

/** The rule for a name, of a policy that is checked on the way. */
function ruleOf(name: string, plan: TpPlan, options?: TpPlanOptions) {
  const policy = fromTpPlan(plan, options)
  expect(readPolicy(policy)).toEqual(policy)
  return firstRule(policy, name)
}

describe('fromTpPlan()', () => {
  test('cuts outputs of colwise modules and inputs of rowwise ones, with their biases', () => {
    const rule = (name: string) => ruleOf(`model.layers.11.${name}`, LLAMA, { tp: 4 })
    expect(rule('self_attn.q_proj.weight')).toEqual({ split: rows })
    expect(rule('self_attn.q_proj.bias')).toEqual({ split: tp(-1) })
    expect(rule('self_attn.q_proj.qweight')).toEqual({ split: tp(-1) })
    expect(rule('self_attn.q_proj.weight_packed')).toEqual({ split: rows })
    expect(rule('self_attn.o_proj.weight')).toEqual({ split: tp(-1) })
    expect(rule('self_attn.o_proj.bias')).toEqual({ replicate: true })
    expect(rule('self_attn.o_proj.qweight')).toEqual({ split: tp(-2) })
  })

  test('everything else is whole: by layer, before, behind, and everywhere', () => {
    const rule = (name: string) => ruleOf(name, LLAMA, { pp: 2 })
    expect(rule('model.layers.11.input_layernorm.weight')).toEqual({ replicate: true })
    expect(rule('model.layers.11.self_attn.q_proj_extra.weight')).toEqual({ replicate: true })
    expect(rule('model.embed_tokens.weight')).toEqual({ replicate: true, stage: 'first' })
    expect(rule('model.norm.weight')).toEqual({ replicate: true, stage: 'last' })
    expect(rule('lm_head.weight')).toEqual({ replicate: true, stage: 'last' })
    expect(rule('visual.patch_embed.proj.weight')).toEqual({ replicate: true, stage: [0, 1] })
  })

  test('stands for the numbers of the layer and the expert, and for any other number', () => {
    const plan = { 'layers.*.mlp.experts.*.gate_proj': 'colwise', 'layers.*.heads.*.w': 'rowwise' }
    const { rules } = fromTpPlan(plan)
    expect(rules[0]!.match).toBe('{prefix}layers.{layer}.mlp.experts.{expert}.gate_proj{,.weight,.weight_packed}')
    expect(rules[3]!.match).toBe('{prefix}layers.{layer}.heads.*.w{,.weight,.weight_packed}')
    expect(ruleOf('model.layers.1.mlp.experts.7.gate_proj.weight', plan, { ep: 4 })).toEqual({
      split: rows,
      expert: 'ep',
    })
  })

  test('knows the place of the head and of what has the prefix already', () => {
    const plan = {
      lm_head: 'colwise_gather_output',
      'model.embed_tokens': 'embedding_rowwise',
      norm: 'sequence_parallel',
    }
    expect(ruleOf('lm_head.weight', plan)).toEqual({ split: rows, stage: 'last' })
    expect(ruleOf('model.embed_tokens.weight', plan)).toEqual({ split: tp(0), stage: 'first' })
    expect(ruleOf('model.norm.weight', plan)).toEqual({ replicate: true, stage: 'last' })
    expect(ruleOf('lm.layers.0.q.weight', { 'layers.*.q': 'colwise' }, { prefix: 'lm.' })).toEqual({ split: rows })
    expect(ruleOf('layers.0.q.weight', { 'layers.*.q': 'colwise' }, { prefix: '' })).toEqual({ split: rows })
  })

  test('an embedding is cut the other way round, since its weight is [entries, width], but nothing that is named like one', () => {
    expect(ruleOf('model.layers.0.mlp.up_embed.weight', { 'layers.*.mlp.up_embed': 'rowwise_split_input' })).toEqual({
      split: tp(0),
    })
    expect(ruleOf('vision.patch_embedding.weight', { 'vision.patch_embedding': 'colwise' })?.split).toEqual(rows)
    expect(ruleOf('vision.embedding_projection.weight', { 'vision.embedding_projection': 'rowwise' })?.split).toEqual(
      tp(-1),
    )
    expect(ruleOf('model.embed_tokens.weight', { embed_tokens: 'rowwise' })).toEqual({ split: tp(0), stage: 'first' })
    expect(ruleOf('model.embed_tokens.weight', { embed_tokens: 'colwise_rep' })).toEqual({
      split: tp(1),
      stage: 'first',
    })
  })

  test('cuts fused experts as packed parameters, and the same experts one by one', () => {
    const rule = (name: string) => ruleOf(`model.layers.0.${name}`, MOE, { tp: 2 })
    expect(rule('mlp.experts.gate_up_proj')).toEqual({ split: tp(-2, { blocks: 2, vectors: true }) })
    expect(rule('mlp.experts.down_proj')).toEqual({ split: tp(-1) })
    expect(rule('mlp.experts.5.up_proj.weight')).toEqual({ split: rows, expert: 'ep' })
    expect(rule('mlp.experts.5.down_proj.weight')).toEqual({ split: tp(-1), expert: 'ep' })
    expect(rule('block_sparse_moe.experts.5.w3.weight')).toEqual({ split: rows, expert: 'ep' })
    expect(rule('block_sparse_moe.experts.5.w2.weight')).toEqual({ split: tp(-1), expert: 'ep' })
    expect(rule('mlp.experts.5.down_proj.bias')).toEqual({ replicate: true, expert: 'ep' })
  })

  test('an ep plan goes first, and experts of both plans are cut along both axes', () => {
    const rule = (name: string, plan = MOE) => ruleOf(`model.layers.0.${name}`, plan, { tp: 2, ep: 4, epPlan: MOE_EP })
    expect(rule('mlp.experts.gate_up_proj')).toEqual({ split: [ep, tp(-2, { blocks: 2, vectors: true })] })
    expect(rule('mlp.experts.down_proj')).toEqual({ split: [ep, tp(-1)] })
    expect(rule('mlp.experts.3.up_proj.weight')).toEqual({ split: rows, expert: 'ep' })
    expect(rule('self_attn.q_proj.weight')).toEqual({ split: rows })
    expect(rule('mlp.gate.weight', { ...MOE, 'layers.*.mlp.gate': 'colwise_rep' })).toEqual({ replicate: true })
    expect(rule('mlp.experts.gate_up_proj', {})).toEqual({ split: ep })
    expect(rule('mlp.experts.3.up_proj.weight', {})).toEqual({ replicate: true, expert: 'ep' })
  })

  test('knows the dimensions of gpt-oss, whose blocks are the other way round than its weights', () => {
    const plan = {
      'layers.*.mlp.experts.gate_up_proj_blocks': 'local_packed_rowwise',
      'layers.*.mlp.experts.down_proj_blocks': 'local_colwise',
      'layers.*.self_attn.sinks': 'local_rowwise',
    }
    const rule = (name: string, options?: TpPlanOptions, other: TpPlan = plan) => {
      return ruleOf(`model.layers.0.${name}`, other, options)
    }
    expect(rule('mlp.experts.gate_up_proj_blocks')).toEqual({ split: tp(1, { blocks: 2 }) })
    expect(rule('mlp.experts.down_proj_blocks')).toEqual({ split: tp(2) })
    expect(rule('self_attn.sinks')).toEqual({ split: tp(-1) })
    expect(rule('self_attn.sinks', {}, { 'layers.*.self_attn.sinks': 'colwise' })).toEqual({ split: rows })
    const epPlan = { 'layers.*.mlp.experts.down_proj_blocks': 'grouped_gemm' }
    expect(rule('mlp.experts.down_proj_blocks', { ep: 2, epPlan })).toEqual({ split: [ep, tp(2)] })
  })

  test('takes tied names, which are on the stages of both', () => {
    const tied = [['model.embed_tokens.weight', 'lm_head.weight']]
    expect(fromTpPlan(LLAMA, { pp: 2, tied }).tied).toEqual(tied)
    const index = indexOf([
      ['model.embed_tokens.weight', 'F32', [4, 2]],
      ['model.layers.0.norm.weight', 'F32', [2]],
      ['model.layers.1.norm.weight', 'F32', [2]],
    ])
    for (const plan of [{}, { embed_tokens: 'embedding_rowwise', lm_head: 'colwise_gather_output' }]) {
      const placed = planPlacement(index, oneHost(4), fromTpPlan(plan, { pp: 2, tp: 2, tied }))
      const { parts } = placed.data.tensors.find(({ name }) => name === tied[0]![0])!
      expect(new Set(parts.flatMap(({ workers }) => workers))).toEqual(new Set([0, 1, 2, 3]))
    }
  })

  test('has the mesh of the options, and nothing else in it', () => {
    expect(fromTpPlan(LLAMA, { pp: 2, tp: 4, replicas: 2, prefix: '' }).mesh).toEqual({ pp: 2, tp: 4, replicas: 2 })
  })

  test('refuses a style that there is not, with the nearest', () => {
    expect(() => fromTpPlan({ 'layers.*.q': 'colwize' })).toThrow(
      expect.objectContaining({
        code: 'POLICY_INVALID',
        field: 'plan["layers.*.q"]',
        candidates: expect.arrayContaining(['colwise']),
      }),
    )
    expect(() => fromTpPlan({}, { epPlan: { a: 'toString' } })).toThrow(
      /^epPlan\["a"\] is "toString", which is no style/,
    )
    expect(() => fromTpPlan({ a: 7 as unknown as string })).toThrow(/plan\["a"\] is 7, which is no style/)
    expect(() => fromTpPlan({ '': 'colwise' })).toThrow(/names no module/)
  })

  test('refuses several positions along ep when no entry places experts', () => {
    expect(() => fromTpPlan(LLAMA, { ep: 2 })).toThrow(
      expect.objectContaining({ code: 'POLICY_INVALID', field: 'epPlan' }),
    )
    expect(() => fromTpPlan(MOE, { ep: 2 })).not.toThrow()
  })
})
