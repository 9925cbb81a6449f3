import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { saveCheckpoint, type TensorToSave } from '@onecopy/checkpoint'

/** Sizes of a model. */
export interface LlamaSizes {
  readonly layers: number
  readonly hidden: number
  readonly inner: number
  readonly vocabulary: number
}

/** What its `config.json` says, whatever the sizes. */
export const CONFIG = { model_type: 'llama', head_dim: 4, num_attention_heads: 4 }

/** Small enough for products in plain loops; everything can be dealt over four workers. */
export const SMALL: LlamaSizes = { layers: 2, hidden: 16, inner: 32, vocabulary: 24 }

/**
 * Saves a checkpoint with the names of a llama model; its F32 elements are small whole numbers, so that products of them are
 * exact, in whatever order they are summed.
 * @param options.seed another number gives other values
 * @returns the folder
 */
export async function saveLlama(
  folder: string,
  { layers, hidden, inner, vocabulary }: LlamaSizes,
  { seed = 1, maxShardBytes = 8192 } = {},
): Promise<string> {
  const tensors: TensorToSave[] = []
  const add = (name: string, ...shape: number[]): void => {
    const elements = shape.reduce((product, size) => product * size, 1)
    let state = (seed * 7919 + tensors.length * 104_729) >>> 0
    const data = Float32Array.from({ length: elements }, () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0 // Numerical Recipes' generator
      return (state >>> 24) % 7 // 0 to 6
    })
    tensors.push({ name: `${name}.weight`, dtype: 'F32', shape, data })
  }
  add('model.embed_tokens', vocabulary, hidden)
  for (let layer = 0; layer < layers; layer++) {
    for (const name of ['q', 'k', 'v', 'o']) add(`model.layers.${layer}.self_attn.${name}_proj`, hidden, hidden)
    for (const name of ['gate', 'up']) add(`model.layers.${layer}.mlp.${name}_proj`, inner, hidden)
    add(`model.layers.${layer}.mlp.down_proj`, hidden, inner)
    for (const name of ['input', 'post_attention']) add(`model.layers.${layer}.${name}_layernorm`, hidden)
  }
  add('model.norm', hidden)
  add('lm_head', vocabulary, hidden)
  await saveCheckpoint(folder, tensors, { maxShardBytes })
  writeFileSync(join(folder, 'config.json'), JSON.stringify(CONFIG))
  return folder
}
