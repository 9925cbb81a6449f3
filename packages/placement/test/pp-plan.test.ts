import { describe, expect, test } from 'vitest'
import { pipelineStages } from '../src/pp-plan.ts'
import { firstRule } from './first-rule.ts'

const NAMES = { base: (name: string) => name, globOf: (glob: string) => `{prefix}${glob}` }

describe('pipelineStages()', () => {
  test('what stands before the layers is first, what stands behind them last, and the head too', () => {
    const stages = pipelineStages(undefined, 4, NAMES)
    expect(stages.of('embed_tokens')).toBe('first')
    expect(stages.of('norm.weight')).toBe('last')
    expect(stages.of('lm_head.weight')).toBe('last')
    expect(stages.of('layers.3.mlp')).toBeNull()
    expect(stages.of('embed_tokens_extra')).toEqual([0, 1, 2, 3])
  })

  test('takes the order of the plan, whatever its values', () => {
    const plan = { wte: [['input_ids'], ['x']], wpe: null, h: [], ln_f: 0 }
    const stages = pipelineStages(plan, 2, NAMES)
    expect(['wte', 'wpe', 'h.0', 'ln_f'].map((name) => stages.of(name))).toEqual(['first', 'first', null, 'last'])
  })

  test('the rules place everything whole', () => {
    const policy = pipelineStages(undefined, 2, NAMES)
    expect(firstRule(policy, 'model.layers.7.anything')).toEqual({ replicate: true })
    expect(firstRule(policy, 'model.embed_tokens.weight')).toEqual({ replicate: true, stage: 'first' })
    expect(firstRule(policy, 'model.norm.weight')).toEqual({ replicate: true, stage: 'last' })
    expect(firstRule(policy, 'lm_head.weight')).toEqual({ replicate: true, stage: 'last' })
    expect(firstRule(policy, 'language_model.layers.7.anything')).toEqual({ replicate: true })
    expect(firstRule(policy, 'model.rotary_emb.inv_freq')).toEqual({ replicate: true, stage: [0, 1] })
    expect(firstRule(policy, 'model.norm_extra.weight')).toEqual({ replicate: true, stage: [0, 1] })
  })

  test('works without a prefix, and without a second stage', () => {
    const policy = pipelineStages(undefined, 1, NAMES)
    expect(policy.of('embed_tokens')).toBe('first')
    expect(firstRule(policy, 'layers.0.w')).toEqual({ replicate: true })
    expect(firstRule(policy, 'rotary')).toEqual({ replicate: true, stage: 'first' })
  })

  test('refuses a plan in which nothing has layers', () => {
    expect(() => pipelineStages({ embed: 1, norm: 1 }, 1, NAMES)).toThrow(
      expect.objectContaining({ code: 'POLICY_INVALID', field: 'ppPlan' }),
    )
    expect(() => pipelineStages({}, 1, NAMES)).toThrow(/no module with layers among none/)
  })
})
