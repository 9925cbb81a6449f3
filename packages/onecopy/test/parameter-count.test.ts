import type { Dtype } from '@onecopy/safetensors'
import { describe, expect, test } from 'vitest'
import { countParameters } from '../src/commands/parameter-count.ts'

type Stored = readonly [name: string, dtype: Dtype, shape: readonly number[]]

/** What each tensor counts. */
function counted(tensors: readonly Stored[], config: unknown = null): number[] {
  return countParameters(
    tensors.map(([name, dtype, shape]) => {
      return { name, dtype, shape, elementCount: shape.reduce((product, size) => product * size, 1) }
    }),
    config,
  )
}

describe('countParameters() without a quantisation', () => {
  test('counts elements, those of four and six bits too, but no scalars and no E8M0', () => {
    const tensors: Stored[] = [
      ['a', 'BF16', [3, 4]],
      ['b', 'F4', [8]],
      ['c', 'F6_E2M3', [4]],
      ['d', 'I64', []],
      ['e.scale', 'F8_E8M0', [16]],
      ['weight_scale', 'F32', [2]],
    ]
    expect(counted(tensors)).toEqual([12, 8, 4, 0, 0, 2])
    for (const config of ['x', [], {}, { quantization_config: 'x' }, { text_config: 1 }]) {
      expect(counted(tensors, config)).toEqual([12, 8, 4, 0, 0, 2])
    }
  })
})

describe('countParameters() as huggingface.js counts', () => {
  const GPTQ: Stored[] = [
    ['l.q.qweight', 'I32', [16, 8]],
    ['l.q.qzeros', 'I32', [2, 2]],
    ['l.q.scales', 'F16', [2, 8]],
    ['l.q.g_idx', 'I32', [128]],
    ['lm_head.weight', 'F16', [8, 4]],
  ]
  const BNB: Stored[] = [
    ['l.q.weight', 'U8', [64, 1]],
    ['l.q.weight.absmax', 'U8', [2]],
    ['l.q.weight.nested_absmax', 'F32', [1]],
    ['l.q.weight.quant_map', 'F32', [16]],
    ['l.q.weight.quant_state.bitsandbytes__nf4', 'U8', [90]],
    ['norm.weight', 'F32', [8]],
  ]
  const COMPRESSED: Stored[] = [
    ['l.q.weight_packed', 'I32', [4, 4]],
    ['l.q.weight_shape', 'I64', [2]],
    ['l.q.weight_scale', 'BF16', [4]],
    ['lm_head.weight', 'I8', [5]],
  ]
  const pack = (bits: number, more: object = {}) => ({
    quantization_config: {
      quant_method: 'compressed-tensors',
      format: 'pack-quantized',
      ignore: ['lm_head'],
      config_groups: { group_0: { targets: ['Linear'], weights: { num_bits: bits } } },
      ...more,
    },
  })

  test.each<[what: string, tensors: Stored[], config: object, counts: number[]]>([
    ['GPTQ', GPTQ, { quantization_config: { quant_method: 'gptq', bits: 4 } }, [1024, 0, 0, 0, 32]],
    ['GPTQ of 8 bits', GPTQ, { quantization_config: { quant_method: 'gptq', bits: 8 } }, [512, 0, 0, 0, 32]],
    ['GPTQ of 3 bits', GPTQ, { quantization_config: { quant_method: 'gptq', bits: 3 } }, [1280, 0, 0, 0, 32]],
    ['AWQ that says no bits', GPTQ, { quantization_config: { quant_method: 'AWQ' } }, [1024, 0, 0, 0, 32]],
    [
      'GPTQ of a text model inside another, with a module left out',
      GPTQ,
      { text_config: { quantization_config: { quant_method: 'gptq', bits: 4, modules_to_not_convert: ['l.q'] } } },
      [128, 4, 16, 128, 32],
    ],
    [
      'bitsandbytes',
      BNB,
      { quantization_config: { quant_method: 'bitsandbytes', load_in_4bit: true } },
      [128, 0, 0, 0, 0, 8],
    ],
    [
      'bitsandbytes of 8 bits',
      [['a.weight', 'I8', [4, 4]]],
      { quantization_config: { quant_method: 'bitsandbytes', load_in_8bit: true } },
      [16],
    ],
    [
      'MXFP4 of gpt-oss',
      [
        ['l.gate_up_proj_blocks', 'U8', [2, 4, 16]],
        ['l.gate_up_proj_scales', 'U8', [2, 4]],
        ['l.gate_up_proj_bias', 'BF16', [4]],
      ],
      { quantization_config: { quant_method: 'mxfp4' } },
      [256, 0, 4],
    ],
    ['compressed-tensors', COMPRESSED, pack(4), [128, 0, 0, 5]],
    ['compressed-tensors of 3 bits', COMPRESSED, pack(3), [171, 0, 0, 5]],
    ['compressed-tensors that pack nothing', COMPRESSED, pack(8, { format: 'int-quantized' }), [16, 0, 0, 5]],
    [
      'compressed-tensors with bits of its own for a module',
      COMPRESSED,
      pack(4, { config_groups: { a: { targets: ['re:.*q$'], weights: { num_bits: 2 } } }, ignore: ['re:lm.*'] }),
      [256, 0, 0, 5],
    ],
    [
      'FP8 with experts of four bits',
      [
        ['l.experts.0.w1.weight', 'I8', [4, 8]],
        ['l.experts.0.w1.scale', 'F8_E8M0', [4, 1]],
        ['l.shared_experts.w1.weight', 'F8_E4M3', [4, 8]],
        ['l.gate.map', 'I32', [10]],
      ],
      { quantization_config: { quant_method: 'fp8' }, expert_dtype: 'fp4' },
      [64, 0, 32, 10],
    ],
    [
      'MLX',
      [
        ['l.q.weight', 'U32', [4, 8]],
        ['l.q.scales', 'BF16', [4, 1]],
        ['l.q.biases', 'BF16', [4, 1]],
        ['l.q.bias', 'BF16', [4]],
        ['l.router.weight', 'U32', [4, 8]],
        ['l.router.scales', 'BF16', [4, 1]],
        ['l.router.biases', 'BF16', [4, 1]],
        ['table.weight', 'U32', [3]],
      ],
      { quantization: { bits: 4, group_size: 64, 'l.router': { bits: 8, group_size: 64 } } },
      [256, 0, 0, 4, 128, 0, 0, 3],
    ],
    ['another method', [['a.weight', 'U8', [4]]], { quantization_config: { quant_method: 'hqq', bits: 4 } }, [8]],
  ])('%s', (_, tensors, config, counts) => {
    expect(counted(tensors, config)).toEqual(counts)
  })
})
