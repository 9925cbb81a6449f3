// @ts-check
// Names, dtypes and shapes of real models, computed from their configurations.

/** @typedef {import('onecopy').TensorSpec} TensorSpec */

/**
 * Llama 2 7B in bf16: 9 tensors a layer and 3 around them.
 *
 * @param {number} layers 32 in the model
 * @returns {TensorSpec[]}
 */
export function llamaTensors(layers) {
  const hidden = 4096
  const inner = 11008
  const vocabulary = 32000
  /** @param {string} name @param {number[]} shape @returns {TensorSpec} */
  const bf16 = (name, ...shape) => ({ name: `${name}.weight`, dtype: 'BF16', shape })
  return [
    bf16('model.embed_tokens', vocabulary, hidden),
    ...range(layers).flatMap((layer) => [
      bf16(`model.layers.${layer}.input_layernorm`, hidden),
      bf16(`model.layers.${layer}.mlp.down_proj`, hidden, inner),
      bf16(`model.layers.${layer}.mlp.gate_proj`, inner, hidden),
      bf16(`model.layers.${layer}.mlp.up_proj`, inner, hidden),
      bf16(`model.layers.${layer}.post_attention_layernorm`, hidden),
      ...['k', 'o', 'q', 'v'].map((part) => bf16(`model.layers.${layer}.self_attn.${part}_proj`, hidden, hidden)),
    ]),
    bf16('model.norm', hidden),
    bf16('lm_head', vocabulary, hidden),
  ]
}

/** Edge of the squares that one scale belongs to. */
const SCALE_BLOCK = 128

/** The first layers of DeepSeek V3 have no experts. */
const DENSE_LAYERS = 3

/**
 * DeepSeek V3: fp8 weights with a scale for each block, 256 experts in all but the first layers.
 *
 * @param {number} layers 61 in the model
 * @param {number} experts 256 in the model
 * @returns {TensorSpec[]}
 */
export function deepSeekTensors(layers, experts) {
  const hidden = 7168
  const vocabulary = 129280
  /** @param {string} name @param {number[]} shape @returns {TensorSpec} */
  const bf16 = (name, ...shape) => ({ name: `${name}.weight`, dtype: 'BF16', shape })
  /** @param {string} name @param {number[]} shape @returns {TensorSpec[]} */
  const fp8 = (name, ...shape) => [
    { name: `${name}.weight`, dtype: 'F8_E4M3', shape },
    { name: `${name}.weight_scale_inv`, dtype: 'F32', shape: shape.map((size) => Math.ceil(size / SCALE_BLOCK)) },
  ]
  /** @param {string} name @param {number} inner */
  const mlp = (name, inner) => [
    ...fp8(`${name}.gate_proj`, inner, hidden),
    ...fp8(`${name}.up_proj`, inner, hidden),
    ...fp8(`${name}.down_proj`, hidden, inner),
  ]
  /** @param {string} layer @returns {TensorSpec[]} */
  const moe = (layer) => [
    { name: `${layer}.mlp.gate.e_score_correction_bias`, dtype: 'F32', shape: [experts] },
    bf16(`${layer}.mlp.gate`, experts, hidden),
    ...mlp(`${layer}.mlp.shared_experts`, 2048),
    ...range(experts).flatMap((expert) => mlp(`${layer}.mlp.experts.${expert}`, 2048)),
  ]
  return [
    bf16('model.embed_tokens', vocabulary, hidden),
    ...range(layers).flatMap((at) => {
      const layer = `model.layers.${at}`
      return [
        bf16(`${layer}.input_layernorm`, hidden),
        bf16(`${layer}.post_attention_layernorm`, hidden),
        bf16(`${layer}.self_attn.q_a_layernorm`, 1536),
        bf16(`${layer}.self_attn.kv_a_layernorm`, 512),
        ...fp8(`${layer}.self_attn.q_a_proj`, 1536, hidden),
        ...fp8(`${layer}.self_attn.q_b_proj`, 24576, 1536),
        ...fp8(`${layer}.self_attn.kv_a_proj_with_mqa`, 576, hidden),
        ...fp8(`${layer}.self_attn.kv_b_proj`, 32768, 512),
        ...fp8(`${layer}.self_attn.o_proj`, hidden, 16384),
        ...(at < DENSE_LAYERS ? mlp(`${layer}.mlp`, 18432) : moe(layer)),
      ]
    }),
    bf16('model.norm', hidden),
    bf16('lm_head', vocabulary, hidden),
  ]
}

/** @param {number} count */
function range(count) {
  return Array.from({ length: count }, (_, at) => at)
}
