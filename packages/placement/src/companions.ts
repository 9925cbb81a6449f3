import type { Companion } from './policy.ts'

/**
 * What the usual libraries write beside a quantised weight. The first whose tensor is there counts, so the forms for a
 * plain weight and for a packed one stand side by side.
 *
 * What does not follow a weight's dimensions is left to the rules, which may put it on every worker of the stage:
 * compressed-tensors' `weight_shape`, and bitsandbytes' tables, `quant_map` and `quant_state.*`.
 *
 * With activation order any input may use any group, so that whoever has some of the inputs needs the scales of all groups.
 * compressed-tensors writes `weight_g_idx` only then; GPTQ always writes `g_idx`, and only its configuration tells.
 */
export const DEFAULT_COMPANIONS: readonly Companion[] = [
  // FP8 in blocks, usually of 128 by 128: DeepSeek, and transformers' fine-grained FP8, fused experts included.
  { match: '{name}_scale_inv', of: '{name}' },
  // DeepSeek's own inference code names the same so.
  { match: '{name}.scale', of: '{name}.weight' },

  ...['_packed', ''].flatMap((kind): readonly Companion[] => [
    { match: '{name}_g_idx', of: `{name}${kind}`, along: [1] },
    { match: '{name}_scale', of: `{name}${kind}`, along: [0, null], beside: '{name}_g_idx' },
    { match: '{name}_zero_point', of: `{name}${kind}`, along: [0, null], beside: '{name}_g_idx' },
  ]),
  // compressed-tensors: by tensor, channel, group or block; NVIDIA ModelOpt and FBGEMM use the first name too.
  { match: '{name}_scale', of: '{name}' },
  { match: '{name}_scale', of: '{name}_packed' },
  { match: '{name}_zero_point', of: '{name}' },
  { match: '{name}_zero_point', of: '{name}_packed' },
  { match: '{name}_global_scale', of: '{name}' },
  { match: '{name}_global_scale', of: '{name}_packed' },
  // ModelOpt's NVFP4 has a second scale, of the whole tensor, for the scales of the groups.
  { match: '{name}_scale_2', of: '{name}' },

  // Activations of a static scheme, one number for a layer: compressed-tensors, ModelOpt, FBGEMM.
  { match: '{name}.input_scale', of: '{name}.weight' },
  { match: '{name}.input_scale', of: '{name}.weight_packed' },
  { match: '{name}.input_zero_point', of: '{name}.weight' },
  { match: '{name}.input_zero_point', of: '{name}.weight_packed' },
  { match: '{name}.input_global_scale', of: '{name}.weight' },
  { match: '{name}.input_global_scale', of: '{name}.weight_packed' },
  { match: '{name}.input_scale_ub', of: '{name}.weight' },

  // AutoGPTQ and GPTQModel, whose qweight is [inputs / 8, outputs], and AutoAWQ, whose qweight is [inputs, outputs / 8].
  { match: '{name}.scales', of: '{name}.qweight' },
  { match: '{name}.qzeros', of: '{name}.qweight' },
  { match: '{name}.g_idx', of: '{name}.qweight', along: [0] },

  // MXFP4 of gpt-oss: a scale for every 32 values, which are 16 bytes of the last dimension of the blocks.
  { match: '{name}_scales', of: '{name}_blocks' },

  // bitsandbytes, 8 bit: a scale for every output.
  { match: '{name}.SCB', of: '{name}.weight' },
  // bitsandbytes, 4 bit: the weight is one column of bytes, row by row, with a scale for every 64 values; the nested
  // form has a scale for every 256 of those scales.
  { match: '{name}.weight.absmax', of: '{name}.weight', block: [32] },
  { match: '{name}.weight.nested_absmax', of: '{name}.weight', block: [8192] },
]

/** The same where GPTQ used activation order: `desc_act` in `quantization_config`. */
export const ACT_ORDER_COMPANIONS: readonly Companion[] = DEFAULT_COMPANIONS.map((companion) => {
  const { match, of } = companion
  return of === '{name}.qweight' && match !== '{name}.g_idx' ? { ...companion, along: [null, 1] } : companion
})
