import { PlacementError } from './errors.ts'
import type { MeshShape } from './policy.ts'

/**
 * What of a model's `config.json`, or of the `text_config` in it, matters for placing the model. All of it may be absent:
 * then heads are cut like any other positions, and vocabularies always.
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
  readonly quantization_config?: { readonly quant_method?: string; readonly bits?: number } | null | undefined
}

/** Positions of one head of ordinary attention; undefined where the configuration does not say. */
export function headSize({ head_dim, hidden_size, num_attention_heads }: ModelConfig): number | undefined {
  if (typeof head_dim === 'number') return head_dim
  if (hidden_size === undefined || num_attention_heads === undefined) return undefined
  return Number.isInteger(hidden_size / num_attention_heads) ? hidden_size / num_attention_heads : undefined
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

/** AWQ packs outputs into integers of 32 bits; what else there is packs inputs, or nothing. */
export function packedOutputs({ quantization_config }: ModelConfig): number {
  return quantization_config?.quant_method === 'awq' ? 32 / (quantization_config.bits ?? 4) : 1
}

/** Whether the vocabulary can be dealt evenly over tp; taken for granted where its size is unknown. */
export function vocabularyDivides({ vocab_size }: ModelConfig, { tp = 1 }: MeshShape): boolean {
  return vocab_size === undefined || vocab_size % tp === 0
}
