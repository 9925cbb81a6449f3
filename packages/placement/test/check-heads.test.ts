import { expect, test } from 'vitest'
import type { ModelConfig } from '../src/model-config.ts'
import { oneHost } from '../src/one-host.ts'
import { planPlacement } from '../src/plan-placement.ts'
import { fromTpPlan } from '../src/tp-plan.ts'
import { indexOf, type Listed } from './real-headers.ts'

const KEYS = 'model.layers.0.self_attn.k_proj.weight'
const PLAN = { 'layers.*.self_attn.k_proj': 'colwise' }

function plan(tp: number, config: ModelConfig | null, listed: Listed = [KEYS, 'BF16', [16, 8]]) {
  return planPlacement({ index: indexOf([listed]), config }, oneHost(tp), fromTpPlan(PLAN, { tp }))
}

test('a head that a plan of transformers would cut is refused, as far as the config tells', () => {
  const config = { head_dim: 8, num_attention_heads: 4 }
  expect(() => plan(2, config)).not.toThrow()
  expect(() => plan(4, config)).toThrow(expect.objectContaining({ code: 'DIMENSION_NOT_DIVISIBLE', tensor: KEYS }))
  expect(() => plan(4, { text_config: config })).toThrow(/by the config.json a head has 8 positions/)
  expect(() => plan(4, null)).not.toThrow()
})

test('what is packed, and latent attention, has heads of other sizes', () => {
  const config = { head_dim: 8, num_attention_heads: 4 }
  expect(() => plan(4, { ...config, qk_nope_head_dim: 4 })).not.toThrow()
  expect(() => plan(4, config, [KEYS, 'U8', [16, 8]])).not.toThrow()
})
