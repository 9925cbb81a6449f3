import type { TensorSpec } from '@onecopy/safetensors'

/** Every weight of the generated checkpoint is BF16. */
const ELEMENT_BYTES = 2

/** The sizes of a decoder-only transformer with grouped-query attention, as Llama and Mistral have them. */
interface Dimensions {
  readonly vocabulary: number
  readonly hidden: number
  readonly keyValue: number // hidden size of keys and of values
  readonly feedForward: number
}

/** For checkpoints of at least so many bytes, largest first: as models of that size look. */
const MODELS: readonly (readonly [minBytes: number, Dimensions])[] = [
  [12 * 2 ** 30, { vocabulary: 128_256, hidden: 4096, keyValue: 1024, feedForward: 14_336 }],
  [768 * 2 ** 20, { vocabulary: 32_768, hidden: 2048, keyValue: 512, feedForward: 5632 }],
  [96 * 2 ** 20, { vocabulary: 16_000, hidden: 1024, keyValue: 256, feedForward: 2816 }],
  [0, { vocabulary: 4096, hidden: 256, keyValue: 64, feedForward: 704 }],
]

/** What a weight does, which decides how its values are distributed. */
export type Role = 'projection' | 'residual' | 'norm'

/** One weight of the model. */
export interface ModelTensor extends TensorSpec {
  readonly role: Role
}

/** A model to be generated. */
export interface ModelPlan {
  readonly tensors: readonly ModelTensor[]
  readonly byteLength: number
  readonly layerCount: number
}

/** The transformer whose weights come nearest to a size; it has at least one layer. */
export function planModel(byteLength: number): ModelPlan {
  const { dimensions, layerCount } = chooseModel(byteLength)
  const [first, last] = outerTensors(dimensions)
  const layers = Array.from({ length: layerCount }, (_, layer) => layerTensors(layer, dimensions))
  const tensors = [...first, ...layers.flat(), ...last]
  return { tensors, byteLength: bytesOf(tensors), layerCount }
}

/** The bytes that `planModel` would come to, without listing the tensors: there may be more than fit in memory. */
export function plannedBytes(byteLength: number): number {
  const { fixedBytes, layerBytes, layerCount } = chooseModel(byteLength)
  return fixedBytes + layerBytes * layerCount
}

function chooseModel(byteLength: number) {
  const dimensions = MODELS.find(([minBytes]) => byteLength >= minBytes)![1]
  const fixedBytes = bytesOf(outerTensors(dimensions).flat())
  const layerBytes = bytesOf(layerTensors(0, dimensions))
  const layerCount = Math.max(1, Math.round((byteLength - fixedBytes) / layerBytes))
  return { dimensions, fixedBytes, layerBytes, layerCount }
}

function bytesOf(tensors: readonly ModelTensor[]): number {
  return tensors.reduce((sum, { shape }) => sum + elementsOf(shape) * ELEMENT_BYTES, 0)
}

function elementsOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1)
}

function outerTensors({ vocabulary, hidden }: Dimensions): [ModelTensor[], ModelTensor[]] {
  return [
    [weight('model.embed_tokens.weight', [vocabulary, hidden])],
    [weight('model.norm.weight', [hidden], 'norm'), weight('lm_head.weight', [vocabulary, hidden])],
  ]
}

function layerTensors(layer: number, { hidden, keyValue, feedForward }: Dimensions): ModelTensor[] {
  const name = (part: string): string => `model.layers.${layer}.${part}.weight`
  return [
    weight(name('input_layernorm'), [hidden], 'norm'),
    weight(name('self_attn.q_proj'), [hidden, hidden]),
    weight(name('self_attn.k_proj'), [keyValue, hidden]),
    weight(name('self_attn.v_proj'), [keyValue, hidden]),
    weight(name('self_attn.o_proj'), [hidden, hidden], 'residual'),
    weight(name('post_attention_layernorm'), [hidden], 'norm'),
    weight(name('mlp.gate_proj'), [feedForward, hidden]),
    weight(name('mlp.up_proj'), [feedForward, hidden]),
    weight(name('mlp.down_proj'), [hidden, feedForward], 'residual'),
  ]
}

function weight(name: string, shape: readonly number[], role: Role = 'projection'): ModelTensor {
  return { name, dtype: 'BF16', shape, role }
}
