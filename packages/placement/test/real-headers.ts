import { type Dtype, dtypeBits, indexHeaders, type TensorIndex } from '@onecopy/safetensors'

/** Name, element type and dimensions. */
export type Listed = readonly [name: string, dtype: Dtype, shape: readonly number[]]

const MAX_SHARD_BYTES = 5_000_000_000

/** The index that the headers of shards with these tensors give. */
export function indexOf(listed: readonly Listed[], maxShardBytes: number = MAX_SHARD_BYTES): TensorIndex {
  const shards: { tensors: Map<string, object>; bytes: number }[] = []
  for (const [name, dtype, shape] of listed) {
    const bytes = (shape.reduce((product, size) => product * size, 1) * dtypeBits(dtype)) / 8
    let shard = shards.at(-1)
    if (shard === undefined || (shard.bytes > 0 && shard.bytes + bytes > maxShardBytes)) {
      shard = { tensors: new Map(), bytes: 0 }
      shards.push(shard)
    }
    shard.tensors.set(name, { dtype, shape, dataOffsets: [shard.bytes, shard.bytes + bytes] })
    shard.bytes += bytes
  }
  const dataOffset = 1024
  return indexHeaders(
    shards.map(({ tensors, bytes }, place) => ({
      name: `model-${String(place + 1).padStart(5, '0')}.safetensors`,
      byteLength: dataOffset + bytes,
      dataOffset,
      header: { tensors: tensors as never, metadata: null },
    })),
  )
}

function attention(layer: string, hidden: number, heads: number, keyValueHeads: number): readonly Listed[] {
  const headSize = 128
  return [
    [`${layer}.self_attn.q_proj.weight`, 'BF16', [heads * headSize, hidden]],
    [`${layer}.self_attn.k_proj.weight`, 'BF16', [keyValueHeads * headSize, hidden]],
    [`${layer}.self_attn.v_proj.weight`, 'BF16', [keyValueHeads * headSize, hidden]],
    [`${layer}.self_attn.o_proj.weight`, 'BF16', [hidden, heads * headSize]],
    [`${layer}.input_layernorm.weight`, 'BF16', [hidden]],
    [`${layer}.post_attention_layernorm.weight`, 'BF16', [hidden]],
  ]
}

function around(hidden: number, vocabulary: number, layers: readonly Listed[]): readonly Listed[] {
  return [
    ['model.embed_tokens.weight', 'BF16', [vocabulary, hidden]],
    ...layers,
    ['model.norm.weight', 'BF16', [hidden]],
    ['lm_head.weight', 'BF16', [vocabulary, hidden]],
  ]
}

/** A number for each of so many. */
function upTo(count: number): readonly number[] {
  return Array.from({ length: count }, (_, number) => number)
}

export function llama3With70B(): readonly Listed[] {
  const hidden = 8192
  const layers = upTo(80).flatMap((number): readonly Listed[] => {
    const layer = `model.layers.${number}`
    return [
      ...attention(layer, hidden, 64, 8),
      [`${layer}.mlp.gate_proj.weight`, 'BF16', [28672, hidden]],
      [`${layer}.mlp.up_proj.weight`, 'BF16', [28672, hidden]],
      [`${layer}.mlp.down_proj.weight`, 'BF16', [hidden, 28672]],
    ]
  })
  return around(hidden, 128256, layers)
}

export function mixtral8x7B(): readonly Listed[] {
  const hidden = 4096
  const layers = upTo(32).flatMap((number): readonly Listed[] => {
    const layer = `model.layers.${number}`
    const moe = `${layer}.block_sparse_moe`
    return [
      ...attention(layer, hidden, 32, 8),
      [`${moe}.gate.weight`, 'BF16', [8, hidden]],
      ...upTo(8).flatMap((expert): readonly Listed[] => [
        [`${moe}.experts.${expert}.w1.weight`, 'BF16', [14336, hidden]],
        [`${moe}.experts.${expert}.w2.weight`, 'BF16', [hidden, 14336]],
        [`${moe}.experts.${expert}.w3.weight`, 'BF16', [14336, hidden]],
      ]),
    ]
  })
  return around(hidden, 32000, layers)
}

/** An FP8 weight and a scale for each of its blocks of 128 by 128. */
function quantised(module: string, outputs: number, inputs: number): readonly Listed[] {
  return [
    [`${module}.weight`, 'F8_E4M3', [outputs, inputs]],
    [`${module}.weight_scale_inv`, 'F32', [Math.ceil(outputs / 128), Math.ceil(inputs / 128)]],
  ]
}

function gated(module: string, hidden: number, inner: number): readonly Listed[] {
  return [
    ...quantised(`${module}.gate_proj`, inner, hidden),
    ...quantised(`${module}.up_proj`, inner, hidden),
    ...quantised(`${module}.down_proj`, hidden, inner),
  ]
}

/** With the layer that predicts one token more, 61, as it was published. */
export function deepseekV3(): readonly Listed[] {
  const hidden = 7168
  const vocabulary = 129280
  const heads = 128
  const layers = upTo(62).flatMap((number): readonly Listed[] => {
    const layer = `model.layers.${number}`
    const attention: readonly Listed[] = [
      ...quantised(`${layer}.self_attn.q_a_proj`, 1536, hidden),
      [`${layer}.self_attn.q_a_layernorm.weight`, 'BF16', [1536]],
      ...quantised(`${layer}.self_attn.q_b_proj`, heads * (128 + 64), 1536),
      ...quantised(`${layer}.self_attn.kv_a_proj_with_mqa`, 512 + 64, hidden),
      [`${layer}.self_attn.kv_a_layernorm.weight`, 'BF16', [512]],
      ...quantised(`${layer}.self_attn.kv_b_proj`, heads * (128 + 128), 512),
      ...quantised(`${layer}.self_attn.o_proj`, hidden, heads * 128),
      [`${layer}.input_layernorm.weight`, 'BF16', [hidden]],
      [`${layer}.post_attention_layernorm.weight`, 'BF16', [hidden]],
    ]
    if (number < 3) return [...attention, ...gated(`${layer}.mlp`, hidden, 18432)]
    const mixture: readonly Listed[] = [
      ...attention,
      [`${layer}.mlp.gate.weight`, 'BF16', [256, hidden]],
      [`${layer}.mlp.gate.e_score_correction_bias`, 'F32', [256]],
      ...gated(`${layer}.mlp.shared_experts`, hidden, 2048),
      ...upTo(256).flatMap((expert) => gated(`${layer}.mlp.experts.${expert}`, hidden, 2048)),
    ]
    if (number < 61) return mixture
    return [
      ...mixture,
      [`${layer}.embed_tokens.weight`, 'BF16', [vocabulary, hidden]],
      [`${layer}.enorm.weight`, 'BF16', [hidden]],
      [`${layer}.hnorm.weight`, 'BF16', [hidden]],
      [`${layer}.eh_proj.weight`, 'BF16', [hidden, 2 * hidden]],
      [`${layer}.shared_head.norm.weight`, 'BF16', [hidden]],
      [`${layer}.shared_head.head.weight`, 'BF16', [vocabulary, hidden]],
    ]
  })
  return around(hidden, vocabulary, layers)
}
