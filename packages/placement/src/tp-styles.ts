import type { Split } from './policy.ts'

/** How transformers' styles treat weights; what they do to activations is no matter of placement. */
type StyleKind = 'column' | 'row' | 'embedding-row' | 'embedding-column' | 'experts' | 'whole'

/** A style: how the weight is cut, and how many matrices are packed into it along the dimension that is cut. */
export interface TpStyle {
  readonly kind: StyleKind
  readonly blocks?: number
}

const COLUMN: TpStyle = { kind: 'column' }
const ROW: TpStyle = { kind: 'row' }
const PACKED_COLUMN: TpStyle = { kind: 'column', blocks: 2 } // gate and up
const PACKED_ROW: TpStyle = { kind: 'row', blocks: 2 }
const EMBEDDING_ROW: TpStyle = { kind: 'embedding-row' }
const EXPERTS: TpStyle = { kind: 'experts' }
const WHOLE: TpStyle = { kind: 'whole' }

/**
 * Every style of transformers' `ALL_PARALLEL_STYLES` (src/transformers/integrations/tensor_parallel.py), old
 * and new: later versions rename and drop some, and published configurations keep the old names.
 */
export const TP_STYLES: Readonly<Record<string, TpStyle>> = {
  colwise: COLUMN,
  colwise_rep: COLUMN,
  colwise_gather_output: COLUMN,
  local_colwise: COLUMN,
  packed_colwise: PACKED_COLUMN,
  local_packed_colwise: PACKED_COLUMN,
  rowwise: ROW,
  rowwise_rep: ROW,
  rowwise_split_input: ROW,
  local_rowwise: ROW,
  packed_rowwise: PACKED_ROW,
  local_packed_rowwise: PACKED_ROW,
  embedding_rowwise: EMBEDDING_ROW,
  vocab_parallel_rowwise: EMBEDDING_ROW,
  embedding_colwise: { kind: 'embedding-column' },
  grouped_gemm: EXPERTS,
  sequence_parallel: WHOLE,
  replicate: WHOLE,
  replicated: WHOLE,
  replicated_with_grad_allreduce: WHOLE,
  gather: WHOLE,
  all_reduce: WHOLE,
  local: WHOLE,
  isolated: WHOLE,
  ep_router: WHOLE,
  megamoe_router: WHOLE,
  moe_tp_experts: WHOLE,
  megamoe_experts: WHOLE,
  moe_identity_expert: WHOLE,
  mla_kv_a_proj: WHOLE,
}

/**
 * Modules that transformers' models make as an embedding, whose weight is [entries, width], and that a plan may name with a
 * style for both kinds of modules: the last part of the name. Transformers asks the module; a plan has only its name, and
 * what is like one (`patch_embedding`, `embedding_projection`) is often a matrix of [outputs, inputs].
 */
const EMBEDDINGS: ReadonlySet<string> = new Set([
  ...['embed_tokens', 'wte', 'wpe', 'word_embeddings', 'position_embeddings', 'token_type_embeddings'],
  ...['up_embed', 'down_embed', 'ngram_embedding'],
])

/** The style of a module of that name: the general ones cut an embedding the other way round. */
export function styleFor(name: string, style: TpStyle): TpStyle {
  if (!EMBEDDINGS.has(name.slice(name.lastIndexOf('.') + 1))) return style
  if (style.kind === 'row') return EMBEDDING_ROW
  return style.kind === 'column' ? { kind: 'embedding-column' } : style
}

/** Kinds of tensors that one entry of a plan covers. */
export type Parameter =
  | 'weight' // [..., outputs, inputs]; also a parameter that the entry names itself
  | 'bias' // [outputs]
  | 'qweight' // GPTQ and AWQ: [inputs, outputs], one of them packed
  | 'mxfp4' // blocks and scales of gpt-oss: [experts, outputs, groups of inputs, ...] for [experts, inputs, outputs]

/** What a style cuts along tp, and null for a parameter that stays whole. */
export function tpSplit({ kind, blocks }: TpStyle, parameter: Parameter): Split | null {
  const dimension = dimensionOf(kind, parameter)
  if (dimension === null) return null
  // As transformers does with what has one dimension, such as the sinks of attention.
  const vectors = kind === 'column' && parameter === 'weight' ? { vectors: true as const } : {}
  return { dimension, axis: 'tp', ...(blocks !== undefined && { blocks }), ...vectors }
}

function dimensionOf(kind: StyleKind, parameter: Parameter): number | null {
  switch (kind) {
    case 'column':
      // Transformers counts from the end: weights of fused experts have a dimension in front.
      return { weight: -2, bias: -1, qweight: -1, mxfp4: 2 }[parameter]
    case 'row':
      return { weight: -1, bias: null, qweight: -2, mxfp4: 1 }[parameter]
    case 'embedding-row':
      return parameter === 'weight' ? 0 : null
    case 'embedding-column':
      return parameter === 'weight' ? 1 : null
    default:
      return null
  }
}
