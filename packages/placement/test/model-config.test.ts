import { expect, test } from 'vitest'
import { hasActOrder, headSize, readModelConfig, refuseCutHeads, vocabularyDivides } from '../src/model-config.ts'

test('headSize() is what the configuration says, or follows from width and heads', () => {
  expect(headSize({ head_dim: 256, hidden_size: 2048, num_attention_heads: 16 })).toBe(256)
  expect(headSize({ head_dim: null, hidden_size: 8192, num_attention_heads: 64 })).toBe(128)
  expect(headSize({ hidden_size: 100, num_attention_heads: 3 })).toBeNull()
  expect(headSize({ hidden_size: 100 })).toBeNull()
  expect(headSize({ head_dim: 128 })).toBeNull()
})

test('refuseCutHeads() wants tp to divide the heads, where they are known', () => {
  expect(() => refuseCutHeads({ num_attention_heads: 64 }, { tp: 8 })).not.toThrow()
  expect(() => refuseCutHeads({}, { tp: 7 })).not.toThrow()
  expect(() => refuseCutHeads({ num_attention_heads: 32 }, { tp: 64 })).toThrow(
    expect.objectContaining({
      code: 'POLICY_INVALID',
      field: 'mesh.tp',
      message: 'The mesh has 64 positions along tp, the model 32 attention heads: tp must divide them',
    }),
  )
})

test('refuseCutHeads() lets key and value heads repeat, but not be cut', () => {
  const config = { num_attention_heads: 48, num_key_value_heads: 8 }
  for (const tp of [1, 2, 4, 8, 16, 24, 48]) expect(() => refuseCutHeads(config, { tp })).not.toThrow()
  for (const tp of [3, 6, 12]) {
    expect(() => refuseCutHeads(config, { tp })).toThrow(/the model 8 key and value heads: one must divide the other/)
  }
  expect(() => refuseCutHeads({ num_key_value_heads: null }, { tp: 3 })).not.toThrow()
})

test('hasActOrder() is what the configuration says of GPTQ, of any module, or unknown', () => {
  const of = (quantization_config: object) => hasActOrder({ quantization_config })
  expect(of({ quant_method: 'gptq', desc_act: true })).toBe(true)
  expect(of({ quant_method: 'gptq', desc_act: false })).toBe(false)
  expect(of({ quant_method: 'gptq', desc_act: false, dynamic: { '+:.*down.*': { desc_act: true } } })).toBe(true)
  expect(of({ quant_method: 'gptq' })).toBeNull()
  expect(of({ quant_method: 'awq' })).toBe(false)
  expect([hasActOrder(null), hasActOrder({}), hasActOrder({ quantization_config: null })]).toEqual([null, null, null])
})

test('readModelConfig() takes what text_config says, and refuses what is no size', () => {
  expect(readModelConfig(null)).toEqual({})
  const text_config = { hidden_size: 64 }
  expect(readModelConfig({ hidden_size: 8, vocab_size: 9, text_config })).toMatchObject({
    hidden_size: 64,
    vocab_size: 9,
  })
  expect(() => readModelConfig('config.json')).toThrow(
    new TypeError('The config of a preset is "config.json"; it must be an object'),
  )
  expect(() => readModelConfig({ head_dim: '64' })).toThrow(TypeError)
  expect(() => readModelConfig({ num_attention_heads: 2.5 })).toThrow(RangeError)
})

test('vocabularyDivides() unless it is known not to', () => {
  expect(vocabularyDivides({ vocab_size: 32_000 }, { tp: 8 })).toBe(true)
  expect(vocabularyDivides({ vocab_size: 32_001 }, { tp: 8 })).toBe(false)
  expect(vocabularyDivides({ vocab_size: 32_001 }, {})).toBe(true)
  expect(vocabularyDivides({}, { tp: 8 })).toBe(true)
})
