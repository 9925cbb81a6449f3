import { checkArgument, rules } from '@onecopy/safetensors'
import { PlacementError } from './errors.ts'
import type { MeshShape } from './policy.ts'

/**
 * What of a model's `config.json`, or of the `text_config` in it, matters for placing the model. All of it may be absent:
 * then attention cannot be cut, vocabularies always are, and what quantisation did is asked of names and shapes.
 */
export interface ModelConfig {
  readonly model_type?: string | undefined
  readonly hidden_size?: number | undefined
  readonly head_dim?: number | null | undefined
  readonly num_attention_heads?: number | undefined
  readonly num_key_value_heads?: number | null | undefined
  readonly vocab_size?: number | undefined
  readonly tie_word_embeddings?: boolean | undefined
  /** Multi-head latent attention: positions of a head of the queries, without and with rotation, and of the values. */
  readonly qk_nope_head_dim?: number | undefined
  readonly qk_rope_head_dim?: number | undefined
  readonly v_head_dim?: number | undefined
  readonly quantization_config?:
    | { readonly quant_method?: string; readonly desc_act?: boolean; readonly dynamic?: unknown }
    | null
    | undefined
  /** Models that also see keep the language model's apart: what is in it counts first. */
  readonly text_config?: ModelConfig | undefined
}

/** Sizes that must be whole numbers where they are there. */
const SIZES = [
  ...(['hidden_size', 'head_dim', 'num_attention_heads', 'num_key_value_heads', 'vocab_size'] as const),
  ...(['qk_nope_head_dim', 'qk_rope_head_dim', 'v_head_dim'] as const),
]

/**
 * A configuration as it may come from a file, with what its `text_config` says instead.
 *
 * @throws TypeError, RangeError for what is no object, and for a size that is no whole number
 */
export function readModelConfig(value: unknown): ModelConfig {
  if (value === undefined || value === null) return {}
  checkArgument('The config of a preset', value, rules.object)
  const outer = value as ModelConfig
  const config = typeof outer.text_config === 'object' ? { ...outer, ...outer.text_config } : outer
  for (const name of SIZES) {
    if (config[name] != null) checkArgument(`The config's ${name}`, config[name], rules.wholeNumber(1))
  }
  return config
}

/** Positions of one head of ordinary attention; null where the configuration does not say how many heads of which size. */
export function headSize({ head_dim, hidden_size, num_attention_heads }: ModelConfig): number | null {
  if (num_attention_heads === undefined) return null
  if (typeof head_dim === 'number') return head_dim
  if (hidden_size === undefined) return null
  return Number.isInteger(hidden_size / num_attention_heads) ? hidden_size / num_attention_heads : null
}

/**
 * @throws PlacementError POLICY_INVALID when tp does not divide the number of attention heads, which cannot be held twice,
 * since the sum over tp would count them twice; and when tp and the number of key and value heads, which can, divide
 * neither one the other
 */
export function refuseCutHeads(config: ModelConfig, { tp = 1 }: MeshShape): void {
  const { num_attention_heads: heads, num_key_value_heads: shared } = config
  if (heads !== undefined && heads % tp !== 0)
    throw cutHeads(tp, `${heads} attention heads: tp must divide them`, heads)
  if (typeof shared !== 'number' || shared % tp === 0 || tp % shared === 0) return
  throw cutHeads(tp, `${shared} key and value heads: one must divide the other`, shared)
}

function cutHeads(tp: number, what: string, heads: number): PlacementError {
  return new PlacementError('POLICY_INVALID', `The mesh has ${tp} positions along tp, the model ${what}`, {
    field: 'mesh.tp',
    details: { axis: 'tp', count: tp, heads },
  })
}

/**
 * Whether GPTQ gave inputs to groups by activation (`desc_act`), in any module; null where nothing says so. Whatever else is
 * in the configuration is not looked at.
 */
export function hasActOrder(config: ModelConfig | null | undefined): boolean | null {
  const quantization = config?.quantization_config ?? config?.text_config?.quantization_config
  if (typeof quantization !== 'object' || quantization === null) return null
  const { quant_method: method, desc_act: order, dynamic } = quantization
  if (typeof method === 'string' && !method.includes('gptq')) return false
  const isSet = (module: unknown) => (module as { readonly desc_act?: unknown } | null)?.desc_act === true
  if (isSet(quantization) || Object.values(dynamic ?? {}).some(isSet)) return true
  return order === false ? false : null
}

/** Whether the vocabulary can be dealt evenly over tp; taken for granted where its size is unknown. */
export function vocabularyDivides({ vocab_size }: ModelConfig, { tp = 1 }: MeshShape): boolean {
  return vocab_size === undefined || vocab_size % tp === 0
}
