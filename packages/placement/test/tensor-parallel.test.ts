import { gatherSelected, resolveSelected } from '@onecopy/safetensors'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ModelConfig } from '../src/model-config.ts'
import { oneHost } from '../src/one-host.ts'
import { planPlacement } from '../src/plan-placement.ts'
import type { Policy } from '../src/policy.ts'
import { PRESETS } from '../src/presets.ts'
import { topologyFor } from './random-models.ts'
import { indexOf, type Listed } from './real-headers.ts'

const HIDDEN = 6
const HEAD = 2
const HEADS = 4
const KEY_VALUE_HEADS = 2
const INNER = 8
const VOCABULARY = 8

/** A matrix of small integers, so that sums are exact in whatever order. */
interface Matrix {
  readonly shape: readonly number[]
  readonly values: Float64Array | Int32Array
}

type Model = ReadonlyMap<string, Matrix>

function filled(shape: readonly number[], seed: number): Matrix {
  const length = shape.reduce((product, size) => product * size, 1)
  return { shape, values: Float64Array.from({ length }, (_, at) => ((at * 7 + seed * 13 + (at >> 2)) % 11) - 5) }
}

/** Matrix times vector. */
function times({ shape: [rows = 0, columns = 0], values }: Matrix, vector: readonly number[]): readonly number[] {
  expect(vector).toHaveLength(columns)
  return Array.from({ length: rows }, (_, row) => {
    return vector.reduce((sum, value, column) => sum + value * values[row * columns + column]!, 0)
  })
}

function added(vectors: readonly (readonly number[])[]): readonly number[] {
  return vectors[0]!.map((_, at) => vectors.reduce((sum, vector) => sum + vector[at]!, 0))
}

/** Queries times the keys of their group plus its values, head by head: what attention makes of one position. */
function mixed(q: readonly number[], k: readonly number[], v: readonly number[]): readonly number[] {
  const group = q.length / k.length
  return q.map((value, at) => {
    const head = Math.floor(at / HEAD / group)
    const other = head * HEAD + (at % HEAD)
    return value * k[other]! + v[other]!
  })
}

/** What a worker makes of a layer with its slices, without the sum over workers. */
function attentionOf(matrix: (name: string) => Matrix, x: readonly number[]): readonly number[] {
  const [q, k, v] = ['q', 'k', 'v'].map((name) => times(matrix(`self_attn.${name}_proj`), x))
  return times(matrix('self_attn.o_proj'), mixed(q!, k!, v!))
}

function mlpOf(matrix: (name: string) => Matrix, x: readonly number[]): readonly number[] {
  const gate = times(matrix('mlp.gate_proj'), x)
  const up = times(matrix('mlp.up_proj'), x)
  return times(
    matrix('mlp.down_proj'),
    gate.map((value, at) => value * up[at]!),
  )
}

/** Each worker's slices, as it would read them. */
function shares(model: Model, policy: Policy, tp: number): readonly Model[] {
  const listed = Array.from(model, ([name, matrix]): Listed => [name, dtypeOf(matrix), matrix.shape])
  const plan = planPlacement(indexOf(listed), topologyFor({ pp: 1, tp, ep: 1, replicas: 1 }), policy)
  return plan.workers.map(({ name }) => {
    return new Map(
      plan.selection(name).tensors.map((selected) => {
        const matrix = model.get(selected.name)!
        const part = resolveSelected(dtypeOf(matrix), matrix.shape, selected.ranges ?? [])
        const { buffer } = gatherSelected(new Uint8Array(matrix.values.buffer), part)
        const values = matrix.values instanceof Int32Array ? new Int32Array(buffer) : new Float64Array(buffer)
        return [selected.name, { shape: part.shape, values }]
      }),
    )
  })
}

function dtypeOf({ values }: Matrix): 'I32' | 'F64' {
  return values instanceof Int32Array ? 'I32' : 'F64'
}

function llama(seed: number): Model {
  const layer = 'model.layers.0'
  const shapes: Record<string, readonly number[]> = {
    'model.embed_tokens.weight': [VOCABULARY, HIDDEN],
    [`${layer}.self_attn.q_proj.weight`]: [HEADS * HEAD, HIDDEN],
    [`${layer}.self_attn.k_proj.weight`]: [KEY_VALUE_HEADS * HEAD, HIDDEN],
    [`${layer}.self_attn.v_proj.weight`]: [KEY_VALUE_HEADS * HEAD, HIDDEN],
    [`${layer}.self_attn.o_proj.weight`]: [HIDDEN, HEADS * HEAD],
    [`${layer}.mlp.gate_proj.weight`]: [INNER, HIDDEN],
    [`${layer}.mlp.up_proj.weight`]: [INNER, HIDDEN],
    [`${layer}.mlp.down_proj.weight`]: [HIDDEN, INNER],
    'lm_head.weight': [VOCABULARY, HIDDEN],
  }
  return new Map(Object.entries(shapes).map(([name, shape], nth) => [name, filled(shape, seed + nth)]))
}

const inLayer = (model: Model) => (name: string) => model.get(`model.layers.0.${name}.weight`)!

/** Rows from one matrix, renamed. */
function rows({ shape: [, columns = 0], values }: Matrix, begin: number, end: number): Matrix {
  return { shape: [end - begin, columns], values: values.slice(begin * columns, end * columns) }
}

describe('tensor-parallel slices', () => {
  const vectors = fc.array(fc.integer({ min: -9, max: 9 }), { minLength: HIDDEN, maxLength: HIDDEN })

  test.each([1, 2, 4])('of llama give the products of the whole matrices, tp %i', (tp) => {
    fc.assert(
      fc.property(vectors, fc.nat({ max: 1000 }), fc.nat({ max: VOCABULARY - 1 }), (x, seed, token) => {
        const model = llama(seed)
        const config = { head_dim: HEAD, num_attention_heads: HEADS, hidden_size: HIDDEN, vocab_size: VOCABULARY }
        const workers = shares(model, PRESETS.llama({ tp }, config), tp)
        for (const part of [attentionOf, mlpOf]) {
          expect(added(workers.map((share) => part(inLayer(share), x)))).toEqual(part(inLayer(model), x))
        }
        const logits = workers.flatMap((share) => times(share.get('lm_head.weight')!, x))
        expect(logits).toEqual(times(model.get('lm_head.weight')!, x))
        const embedding = workers.flatMap((share) => Array.from(share.get('model.embed_tokens.weight')!.values))
        expect(embedding.slice(token * HIDDEN, (token + 1) * HIDDEN)).toEqual(
          Array.from(model.get('model.embed_tokens.weight')!.values.slice(token * HIDDEN, (token + 1) * HIDDEN)),
        )
      }),
      { numRuns: 30 },
    )
  })

  test.each([1, 2, 4])('of packed matrices are packed slices of each of them, tp %i', (tp) => {
    const keyValue = KEY_VALUE_HEADS * HEAD
    const policy: Policy = {
      mesh: { tp },
      rules: [
        { match: 'qkv', split: { dimension: 0, axis: 'tp', unit: HEAD, blocks: [HEADS * HEAD, keyValue, keyValue] } },
        { match: 'gate_up', split: { dimension: 0, axis: 'tp', blocks: 2 } },
        { match: '{o,down}', split: { dimension: -1, axis: 'tp' } },
      ],
    }
    fc.assert(
      fc.property(vectors, fc.nat({ max: 1000 }), (x, seed) => {
        const model: Model = new Map([
          ['qkv', filled([HEADS * HEAD + 2 * keyValue, HIDDEN], seed)],
          ['gate_up', filled([2 * INNER, HIDDEN], seed + 1)],
          ['o', filled([HIDDEN, HEADS * HEAD], seed + 2)],
          ['down', filled([HIDDEN, INNER], seed + 3)],
        ])
        const unpacked = (share: Model, of: number) => (name: string) => {
          const queries = (HEADS * HEAD) / of
          const keys = Math.max(keyValue / of, HEAD) // workers with the same group of heads share them
          const inner = INNER / of
          const begins: Record<string, readonly [string, number, number]> = {
            'self_attn.q_proj': ['qkv', 0, queries],
            'self_attn.k_proj': ['qkv', queries, queries + keys],
            'self_attn.v_proj': ['qkv', queries + keys, queries + 2 * keys],
            'self_attn.o_proj': ['o', 0, HIDDEN],
            'mlp.gate_proj': ['gate_up', 0, inner],
            'mlp.up_proj': ['gate_up', inner, 2 * inner],
            'mlp.down_proj': ['down', 0, HIDDEN],
          }
          const [packed, begin, end] = begins[name]!
          return rows(share.get(packed)!, begin, end)
        }
        const workers = shares(model, policy, tp)
        for (const part of [attentionOf, mlpOf]) {
          expect(added(workers.map((share) => part(unpacked(share, tp), x)))).toEqual(part(unpacked(model, 1), x))
        }
      }),
      { numRuns: 30 },
    )
  })
})

const DOWN = 'model.layers.0.mlp.down_proj'
const UP = 'model.layers.0.mlp.up_proj'
const KEYS = 'model.layers.0.self_attn.k_proj'
const GROUP = 4 // inputs with one scale
const PACKED = 4 // values of 8 bits in one integer

/** Integers of 8 bits, packed along the first dimension (GPTQ) or the second (AWQ). */
function packed({ shape: [rows = 0, columns = 0], values }: Matrix, along: 'inputs' | 'outputs'): Matrix {
  const shape = along === 'inputs' ? [rows / PACKED, columns] : [rows, columns / PACKED]
  const integers = new Int32Array(shape[0]! * shape[1]!)
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const [at, nth] =
        along === 'inputs'
          ? [Math.floor(row / PACKED) * columns + column, row % PACKED]
          : [row * shape[1]! + Math.floor(column / PACKED), column % PACKED]
      integers[at]! |= (values[row * columns + column]! & 0xff) << (8 * nth)
    }
  }
  return { shape, values: integers }
}

/** The weight that a worker makes of its part, as [outputs, inputs]. */
function dequantised(share: Model, module: string, along: 'inputs' | 'outputs'): Matrix {
  const {
    shape: [packedRows = 0, packedColumns = 0],
    values,
  } = share.get(`${module}.qweight`)!
  const scales = share.get(`${module}.scales`)!
  const order = share.get(`${module}.g_idx`)?.values
  const rows = along === 'inputs' ? packedRows * PACKED : packedRows
  const columns = along === 'inputs' ? packedColumns : packedColumns * PACKED
  expect(scales.shape[1]).toBe(columns)
  if (order !== undefined) expect(order).toHaveLength(rows)
  const made = new Float64Array(rows * columns)
  for (let row = 0; row < rows; row++) {
    const group = order?.[row] ?? Math.floor(row / GROUP)
    expect(group).toBeLessThan(scales.shape[0]!)
    for (let column = 0; column < columns; column++) {
      const [at, nth] =
        along === 'inputs'
          ? [Math.floor(row / PACKED) * packedColumns + column, row % PACKED]
          : [row * packedColumns + Math.floor(column / PACKED), column % PACKED]
      made[column * rows + row] = ((values[at]! << (24 - 8 * nth)) >> 24) * scales.values[group * columns + column]!
    }
  }
  return { shape: [columns, rows], values: made }
}

function quantised(
  module: string,
  inputs: number,
  outputs: number,
  along: 'inputs' | 'outputs',
  order?: readonly number[],
): Model {
  return new Map([
    [`${module}.qweight`, packed(filled([inputs, outputs], inputs), along)],
    [`${module}.scales`, filled([inputs / GROUP, outputs], outputs)],
    ...(order === undefined ? [] : [[`${module}.g_idx`, { shape: [inputs], values: Int32Array.from(order) }] as const]),
  ])
}

/** An input for each position. */
const inputsOf = (count: number) => Array.from({ length: count }, (_, at) => ((at * 5) % 7) - 3)

describe('quantised tensor-parallel slices', () => {
  const actOrder = { quantization_config: { quant_method: 'gptq', desc_act: true } }

  test.each([2, 4])('of GPTQ with activation order add up, since everybody has all scales, tp %i', (tp) => {
    const order = [3, 0, 1, 2, 3, 0, 1, 2, 2, 1, 0, 3, 2, 1, 0, 3]
    const model = quantised(DOWN, 16, 8, 'inputs', order)
    const x = inputsOf(16)
    const parts = shares(model, PRESETS.llama({ tp }, actOrder), tp).map((share, worker) => {
      const own = x.slice((worker * 16) / tp, ((worker + 1) * 16) / tp)
      return times(dequantised(share, DOWN, 'inputs'), own)
    })
    expect(added(parts)).toEqual(times(dequantised(model, DOWN, 'inputs'), x))
  })

  test('of GPTQ are told by the config of the checkpoint too; where nothing tells, the plan says so', () => {
    const listed = Array.from(quantised(DOWN, 16, 8, 'inputs', inputsOf(16)), ([name, matrix]): Listed => {
      return [name, dtypeOf(matrix), matrix.shape]
    })
    const planned = (config: ModelConfig | null) => {
      const plan = planPlacement({ index: indexOf(listed), config }, oneHost(2), PRESETS.llama({ tp: 2 }))
      return [plan.worker('w1').tensors.find(({ name }) => name.endsWith('scales'))?.shape, plan.notices] as const
    }
    expect(planned(actOrder)).toEqual([[4, 8], []])
    expect(planned({ quantization_config: { quant_method: 'gptq', desc_act: false } })).toEqual([[2, 8], []])
    const [shape, notices] = planned(null)
    expect(shape).toEqual([2, 8])
    expect(notices).toEqual([
      expect.stringMatching(/^The inputs of "model.layers.0.mlp.down_proj.qweight" are cut .* without desc_act/),
    ])
  })

  test('of compressed-tensors with activation order have all scales, and the index of their inputs', () => {
    const module = (name: string, dtype: Listed[1], shape: readonly number[]): Listed => [
      `${DOWN}.${name}`,
      dtype,
      shape,
    ]
    const listed = [
      module('weight_packed', 'I32', [8, 4]),
      module('weight_scale', 'BF16', [8, 4]),
      module('weight_zero_point', 'I32', [1, 4]),
      module('weight_g_idx', 'I32', [32]),
      module('weight_shape', 'I64', [2]),
    ]
    const plan = planPlacement(indexOf(listed), oneHost(2), PRESETS.llama({ tp: 2 }))
    const shapes = plan.worker('w1').tensors.map(({ name, shape }) => [name.slice(DOWN.length + 1), shape])
    expect(Object.fromEntries(shapes)).toEqual({
      weight_packed: [8, 2],
      weight_scale: [8, 4],
      weight_zero_point: [1, 4],
      weight_g_idx: [16],
      weight_shape: [2],
    })
  })

  test.each([2, 4])('of AWQ add up and stand side by side, tp %i', (tp) => {
    const [down, up] = [quantised(DOWN, 16, 8, 'outputs'), quantised(UP, 8, 16, 'outputs')]
    const x = inputsOf(16)
    const parts = shares(down, PRESETS.llama({ tp }), tp).map((share, worker) => {
      return times(dequantised(share, DOWN, 'outputs'), x.slice((worker * 16) / tp, ((worker + 1) * 16) / tp))
    })
    expect(added(parts)).toEqual(times(dequantised(down, DOWN, 'outputs'), x))
    const besides = shares(up, PRESETS.llama({ tp }), tp).flatMap((share) =>
      times(dequantised(share, UP, 'outputs'), inputsOf(8)),
    )
    expect(besides).toEqual(times(dequantised(up, UP, 'outputs'), inputsOf(8)))
  })

  test.each(['inputs', 'outputs'] as const)(
    'have the one head of keys twice, with %s packed, whatever the config says of that',
    (along) => {
      const model = quantised(KEYS, 8, 8, along, along === 'inputs' ? [0, 0, 0, 0, 1, 1, 1, 1] : undefined)
      const config = { head_dim: 8, num_attention_heads: 4, num_key_value_heads: 1 }
      for (const share of shares(model, PRESETS.llama({ tp: 2 }, config), 2)) {
        expect(dequantised(share, KEYS, along)).toEqual(dequantised(model, KEYS, along))
      }
      const two = shares(model, PRESETS.llama({ tp: 2 }, { ...config, head_dim: 4, num_key_value_heads: 2 }), 2)
      expect(two.flatMap((share) => times(dequantised(share, KEYS, along), inputsOf(8)))).toEqual(
        times(dequantised(model, KEYS, along), inputsOf(8)),
      )
    },
  )

  test('of columns of bytes by bitsandbytes are refused where inputs or heads are cut, and said where outputs are', () => {
    const planned = (module: string) => {
      const listed: readonly Listed[] = [
        [`${module}.weight`, 'U8', [256, 1]],
        [`${module}.weight.absmax`, 'F32', [8]],
      ]
      const config = { head_dim: 4, num_attention_heads: 4, num_key_value_heads: 1 }
      return planPlacement(indexOf(listed), oneHost(2), PRESETS.llama({ tp: 2 }, config))
    }
    for (const module of [DOWN, KEYS]) {
      expect(() => planned(module)).toThrow(
        expect.objectContaining({ code: 'DIMENSION_NOT_DIVISIBLE', tensor: `${module}.weight` }),
      )
      expect(() => planned(module)).toThrow(/bitsandbytes has made the matrix one column of bytes/)
    }
    expect(planned(UP).notices).toEqual([
      expect.stringMatching(/^The columns of bytes of bitsandbytes in "[^"]+up_proj.weight"/),
    ])
  })
})

describe('biases', () => {
  test('of outputs are cut with them, and those of inputs are with one worker, so that sums have them once', () => {
    const model: Model = new Map([
      [`${UP}.weight`, filled([INNER, HIDDEN], 1)],
      [`${UP}.bias`, filled([INNER], 2)],
      [`${DOWN}.weight`, filled([HIDDEN, INNER], 3)],
      [`${DOWN}.bias`, filled([HIDDEN], 4)],
    ])
    const linear = (share: Model, module: string, x: readonly number[]) => {
      const bias = share.get(`${module}.bias`)?.values
      return times(share.get(`${module}.weight`)!, x).map((value, at) => value + (bias?.[at] ?? 0))
    }
    const mlp = (share: Model) =>
      linear(
        share,
        DOWN,
        linear(share, UP, inputsOf(HIDDEN)).map((value) => Math.max(0, value)),
      )
    for (const tp of [2, 4]) expect(added(shares(model, PRESETS.llama({ tp }), tp).map(mlp))).toEqual(mlp(model))
  })
})

describe('what would be summed twice', () => {
  test.each<[string, Listed]>([
    ['fewer inputs than workers', [`${DOWN}.weight`, 'F32', [8, 2]]],
    ['fewer packed inputs than workers', [`${DOWN}.qweight`, 'I32', [2, 8]]],
    ['fewer fused experts than workers', ['model.layers.0.mlp.experts.down_proj', 'BF16', [2, 8, 8]]],
  ])('%s are refused', (_, listed) => {
    const mesh = listed[0].includes('experts') ? { ep: 4 } : { tp: 4 }
    const run = () => planPlacement(indexOf([listed]), oneHost(4), PRESETS['qwen-moe'](mesh))
    expect(run).toThrow(expect.objectContaining({ code: 'DIMENSION_NOT_DIVISIBLE', tensor: listed[0] }))
  })
})
