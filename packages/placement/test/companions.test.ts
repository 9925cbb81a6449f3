import { type Dtype, tensorByteLength, tensorIndex } from '@onecopy/safetensors'
import { describe, expect, test } from 'vitest'
import { DEFAULT_COMPANIONS } from '../src/companions.ts'
import { oneHost } from '../src/one-host.ts'
import { planPlacement } from '../src/plan-placement.ts'
import { PRESETS } from '../src/presets.ts'
import { readPolicy } from '../src/read-policy.ts'

/** The owners that the defaults know for a name, given what tensors there are. */
function ownersOf(name: string, ...tensors: readonly string[]): string[] {
  return DEFAULT_COMPANIONS.flatMap(({ match, of, beside }) => {
    const [before, after] = match.split('{name}') as [string, string]
    if (!name.startsWith(before) || !name.endsWith(after)) return []
    const shared = name.slice(before.length, name.length - after.length)
    const owner = of.replace('{name}', shared)
    return tensors.includes(owner) && (beside === undefined || tensors.includes(beside.replace('{name}', shared)))
      ? [owner]
      : []
  })
}

test('DEFAULT_COMPANIONS are companions as a policy has them, each once', () => {
  const rules = [{ match: '**', replicate: true }]
  expect(readPolicy({ rules, companions: DEFAULT_COMPANIONS }).companions).toEqual(DEFAULT_COMPANIONS)
  expect(new Set(DEFAULT_COMPANIONS.map(({ match, of, beside }) => `${match} of ${of} beside ${beside}`)).size).toBe(
    DEFAULT_COMPANIONS.length,
  )
})

test.each([
  ['DeepSeek', 'l.3.q_a_proj.weight_scale_inv', 'l.3.q_a_proj.weight'],
  ['fused FP8 experts', 'l.3.experts.gate_up_proj_scale_inv', 'l.3.experts.gate_up_proj'],
  ['compressed-tensors', 'l.3.q_proj.weight_scale', 'l.3.q_proj.weight'],
  ['compressed-tensors, packed', 'l.3.q_proj.weight_scale', 'l.3.q_proj.weight_packed'],
  ['compressed-tensors, packed', 'l.3.q_proj.weight_zero_point', 'l.3.q_proj.weight_packed'],
  ['compressed-tensors, NVFP4', 'l.3.q_proj.weight_global_scale', 'l.3.q_proj.weight_packed'],
  ['compressed-tensors, static', 'l.3.q_proj.input_scale', 'l.3.q_proj.weight'],
  ['ModelOpt, NVFP4', 'l.3.q_proj.weight_scale_2', 'l.3.q_proj.weight'],
  ['compressed-tensors, activation order', 'l.3.q_proj.weight_g_idx', 'l.3.q_proj.weight_packed'],
  ['GPTQ', 'l.3.q_proj.g_idx', 'l.3.q_proj.qweight'],
  ['GPTQ and AWQ', 'l.3.q_proj.qzeros', 'l.3.q_proj.qweight'],
  ['GPTQ and AWQ', 'l.3.q_proj.scales', 'l.3.q_proj.qweight'],
  ['gpt-oss', 'l.3.experts.down_proj_scales', 'l.3.experts.down_proj_blocks'],
  ['bitsandbytes', 'l.3.q_proj.SCB', 'l.3.q_proj.weight'],
  ['bitsandbytes, 4 bit', 'l.3.q_proj.weight.absmax', 'l.3.q_proj.weight'],
  ['bitsandbytes, 4 bit', 'l.3.q_proj.weight.nested_absmax', 'l.3.q_proj.weight'],
])('of %s: %s follows %s', (_, companion, owner) => {
  // All the tensors that a module may have: exactly one of them is the owner.
  const module = owner.replace(/\.\w+$/, '')
  const others = ['bias', 'norm.weight', 'scales', 'weight_shape'].map((name) => `${module}.${name}`)
  expect(ownersOf(companion, owner, companion, ...others)).toEqual([owner])
})

test.each(['l.3.q_proj.weight', 'l.3.q_proj.bias', 'l.3.q_proj.weight_shape', 'l.3.q_proj.weight.quant_map'])(
  '%s follows nothing',
  (name) => {
    expect(ownersOf(name, 'l.3.q_proj.weight', 'l.3.q_proj.weight_packed', 'l.3.q_proj.qweight', 'l.3.q_proj')).toEqual(
      [],
    )
  },
)

describe('with a preset, what a quantised matrix has goes where its slices go', () => {
  const INPUTS = 8192
  const OUTPUTS = 4096
  const half = (size: number) => [size / 2, size]

  /** What the second of two workers takes of a column-parallel matrix's tensors; undefined for all of one. */
  function secondHalf(
    tensors: readonly (readonly [suffix: string, dtype: Dtype, shape: readonly number[]])[],
    config = {},
  ) {
    const module = 'model.layers.0.mlp.up_proj.'
    let end = 0
    const indexed = tensors.map(([suffix, dtype, shape]) => {
      const begin = end
      end += tensorByteLength(dtype, shape)
      return { name: module + suffix, dtype, shape, shard: 0, begin, end }
    })
    const index = tensorIndex([{ name: 'model.safetensors', byteLength: end }], indexed)
    const plan = planPlacement(index, oneHost(2), PRESETS.llama({ tp: 2 }, config))
    const selected = plan.selection('w1').tensors
    expect(selected.length).toBe(tensors.length)
    return Object.fromEntries(selected.map(({ name, ranges }) => [name.slice(module.length), ranges]))
  }

  test('GPTQ, an index for each input included', () => {
    const taken = secondHalf([
      ['qweight', 'I32', [INPUTS / 8, OUTPUTS]],
      ['scales', 'F16', [INPUTS / 128, OUTPUTS]],
      ['qzeros', 'I32', [INPUTS / 128, OUTPUTS / 8]],
      ['g_idx', 'I32', [INPUTS]],
    ])
    expect(taken['qweight']).toEqual([[0, INPUTS / 8], half(OUTPUTS)])
    expect(taken['scales']).toEqual([[0, INPUTS / 128], half(OUTPUTS)])
    expect(taken['qzeros']).toEqual([[0, INPUTS / 128], half(OUTPUTS / 8)])
    expect(taken['g_idx']).toBeUndefined()
  })

  test('AWQ, whose outputs are packed', () => {
    const taken = secondHalf([
      ['qweight', 'I32', [INPUTS, OUTPUTS / 8]],
      ['scales', 'F16', [INPUTS / 128, OUTPUTS]],
      ['qzeros', 'I32', [INPUTS / 128, OUTPUTS / 8]],
    ])
    expect(taken['qweight']?.[1]).toEqual(half(OUTPUTS / 8))
    expect(taken['scales']?.[1]).toEqual(half(OUTPUTS))
    expect(taken['qzeros']?.[1]).toEqual(half(OUTPUTS / 8))
  })

  test('compressed-tensors, whose shape and index stay whole', () => {
    const taken = secondHalf([
      ['weight_packed', 'I32', [OUTPUTS, INPUTS / 8]],
      ['weight_scale', 'BF16', [OUTPUTS, INPUTS / 128]],
      ['weight_zero_point', 'I32', [OUTPUTS / 8, INPUTS / 128]],
      ['weight_g_idx', 'I32', [INPUTS]],
      ['weight_shape', 'I64', [2]],
    ])
    expect(taken['weight_packed']?.[0]).toEqual(half(OUTPUTS))
    expect(taken['weight_scale']?.[0]).toEqual(half(OUTPUTS))
    expect(taken['weight_zero_point']?.[0]).toEqual(half(OUTPUTS / 8))
    expect(taken['weight_g_idx']).toBeUndefined()
    expect(taken['weight_shape']).toBeUndefined()
  })

  test('NVFP4 of ModelOpt and FP8 in blocks', () => {
    const nvfp4 = secondHalf([
      ['weight', 'U8', [OUTPUTS, INPUTS / 2]],
      ['weight_scale', 'F8_E4M3', [OUTPUTS, INPUTS / 16]],
      ['weight_scale_2', 'F32', []],
      ['input_scale', 'F32', []],
    ])
    expect(nvfp4['weight_scale']?.[0]).toEqual(half(OUTPUTS))
    expect([nvfp4['weight_scale_2'], nvfp4['input_scale']]).toEqual([undefined, undefined])
    const fp8 = secondHalf([
      ['weight', 'F8_E4M3', [OUTPUTS, INPUTS]],
      ['weight_scale_inv', 'F32', [OUTPUTS / 128, INPUTS / 128]],
    ])
    expect(fp8['weight_scale_inv']?.[0]).toEqual(half(OUTPUTS / 128))
  })

  test('bitsandbytes, both forms, whose tables stay whole', () => {
    const values = OUTPUTS * INPUTS
    const taken = secondHalf([
      ['weight', 'U8', [values / 2, 1]],
      ['weight.absmax', 'U8', [values / 64]],
      ['weight.nested_absmax', 'F32', [values / 64 / 256]],
      ['weight.quant_map', 'F32', [16]],
      ['weight.nested_quant_map', 'F32', [256]],
      ['weight.quant_state.bitsandbytes__nf4', 'U8', [90]],
    ])
    expect(taken['weight']?.[0]).toEqual(half(values / 2))
    expect(taken['weight.absmax']).toEqual([half(values / 64)])
    expect(taken['weight.nested_absmax']).toEqual([half(values / 64 / 256)])
    expect(taken['weight.quant_map']).toBeUndefined()
    const eightBit = secondHalf([
      ['weight', 'I8', [OUTPUTS, INPUTS]],
      ['SCB', 'F32', [OUTPUTS]],
      ['weight_format', 'U8', []],
    ])
    expect(eightBit['SCB']).toEqual([half(OUTPUTS)])
  })
})
