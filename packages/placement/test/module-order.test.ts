import { expect, test } from 'vitest'
import { compareModules, isDeclaredOrder } from '../src/module-order.ts'

test.each([
  ['Llama', ['model.embed_tokens.weight', 'model.layers.', 'model.norm.weight', 'lm_head.weight']],
  ['GPT-2', ['transformer.wte.weight', 'transformer.h.', 'transformer.ln_f.bias', 'lm_head.weight']],
  ['T5', ['shared.weight', 'encoder.block.', 'encoder.final_layer_norm.weight', 'decoder.block.', 'lm_head.weight']],
  ['GPT-NeoX', ['gpt_neox.embed_in.weight', 'gpt_neox.layers.', 'gpt_neox.final_layer_norm.bias', 'embed_out.weight']],
  [
    'LLaVA',
    [
      ...['vision_tower.embeddings.weight', 'vision_tower.layers.', 'vision_tower.post_layernorm.weight'],
      ...['multi_modal_projector.linear_1.weight', 'language_model.model.embed_tokens.weight'],
      ...['language_model.model.layers.', 'language_model.model.norm.weight', 'language_model.lm_head.weight'],
    ],
  ],
])('compareModules() orders %s as its modules are declared', (_, names) => {
  expect(names.toReversed().sort(compareModules)).toEqual(names)
  expect(names.toSorted().sort(compareModules)).toEqual(names)
})

test('compareModules() counts layers as numbers', () => {
  expect(['h.10.w', 'h.9.w', 'h.9.b'].sort(compareModules)).toEqual(['h.9.b', 'h.9.w', 'h.10.w'])
})

test('isDeclaredOrder() tells files that were sorted by dtype and name from others', () => {
  const at = (name: string, dtype: 'F32' | 'BF16' = 'F32', shard = 0) => ({ name, dtype, shard })
  expect(isDeclaredOrder([at('b'), at('c'), at('a', 'BF16'), at('d', 'BF16'), at('a', 'BF16', 1)])).toBe(false)
  expect(isDeclaredOrder([at('a'), at('c'), at('b')])).toBe(true)
})
