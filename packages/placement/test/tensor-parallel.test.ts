import { gatherSelected, resolveSelected } from '@onecopy/safetensors'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
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
  readonly values: Float64Array
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
  const listed = Array.from(model, ([name, { shape }]): Listed => [name, 'F64', shape])
  const plan = planPlacement(indexOf(listed), topologyFor({ pp: 1, tp, ep: 1, replicas: 1 }), policy)
  return plan.workers.map(({ name }) => {
    return new Map(
      plan.selection(name).tensors.map((selected) => {
        const { shape, values } = model.get(selected.name)!
        const part = resolveSelected('F64', shape, selected.ranges ?? [])
        const bytes = gatherSelected(new Uint8Array(values.buffer), part)
        return [selected.name, { shape: part.shape, values: new Float64Array(bytes.buffer) }]
      }),
    )
  })
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
