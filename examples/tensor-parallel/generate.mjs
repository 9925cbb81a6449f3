import { saveCheckpoint } from 'onecopy'

const HIDDEN = 64
const INNER = 256
const VOCABULARY = 128

/** Saves a checkpoint with the names and proportions of a llama model of one layer, and values of no meaning. */
export async function generate(folder) {
  const shapes = {
    'model.embed_tokens': [VOCABULARY, HIDDEN],
    'model.layers.0.input_layernorm': [HIDDEN],
    'model.layers.0.self_attn.q_proj': [HIDDEN, HIDDEN],
    'model.layers.0.self_attn.k_proj': [HIDDEN, HIDDEN],
    'model.layers.0.self_attn.v_proj': [HIDDEN, HIDDEN],
    'model.layers.0.self_attn.o_proj': [HIDDEN, HIDDEN],
    'model.layers.0.post_attention_layernorm': [HIDDEN],
    'model.layers.0.mlp.gate_proj': [INNER, HIDDEN],
    'model.layers.0.mlp.up_proj': [INNER, HIDDEN],
    'model.layers.0.mlp.down_proj': [HIDDEN, INNER],
    'model.norm': [HIDDEN],
    lm_head: [VOCABULARY, HIDDEN],
  }
  const tensors = Object.entries(shapes).map(([name, shape], nth) => {
    const length = shape.reduce((product, size) => product * size, 1)
    const data = Float32Array.from({ length }, (_, at) => Math.sin(at * (nth + 1)) / Math.sqrt(HIDDEN))
    return { name: `${name}.weight`, dtype: 'F32', shape, data }
  })
  await saveCheckpoint(folder, tensors, { maxShardBytes: 2 ** 17 })
  return folder
}
