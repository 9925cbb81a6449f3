import { expect, test } from 'vitest'
import { TP_STYLES, tpSplit } from '../src/tp-styles.ts'

/** The registry of transformers 4.56 and of the one that is built on DTensor, each name once. */
const STYLES = [
  ...['colwise', 'rowwise', 'colwise_rep', 'rowwise_rep', 'local_colwise', 'local_rowwise', 'local', 'gather'],
  ...['local_packed_rowwise', 'sequence_parallel', 'replicate', 'grouped_gemm', 'ep_router'],
  ...['embedding_rowwise', 'colwise_gather_output', 'rowwise_split_input', 'packed_colwise', 'packed_rowwise'],
  ...['megamoe_router', 'moe_tp_experts', 'megamoe_experts', 'moe_identity_expert', 'mla_kv_a_proj', 'all_reduce'],
  ...['replicated_with_grad_allreduce', 'embedding_colwise'],
]

test('every style of transformers is known', () => {
  expect(STYLES.filter((style) => !Object.hasOwn(TP_STYLES, style))).toEqual([])
})

test('styles cut weights where transformers does', () => {
  const cuts = (style: string) => {
    const split = tpSplit(TP_STYLES[style]!, 'weight')
    return split === null ? null : [split.dimension, split.blocks ?? 1]
  }
  const columns = ['colwise', 'colwise_rep', 'colwise_gather_output', 'local_colwise']
  expect(columns.map(cuts)).toEqual(columns.map(() => [-2, 1]))
  const rows = ['rowwise', 'rowwise_rep', 'rowwise_split_input', 'local_rowwise']
  expect(rows.map(cuts)).toEqual(rows.map(() => [-1, 1]))
  expect(['packed_colwise', 'packed_rowwise', 'local_packed_rowwise'].map(cuts)).toEqual([
    [-2, 2],
    [-1, 2],
    [-1, 2],
  ])
  expect(['embedding_rowwise', 'embedding_colwise'].map(cuts)).toEqual([
    [0, 1],
    [1, 1],
  ])
  const whole = [
    'sequence_parallel',
    'replicate',
    'gather',
    'local',
    'ep_router',
    'moe_tp_experts',
    'mla_kv_a_proj',
    'all_reduce',
  ]
  expect(whole.map(cuts)).toEqual(whole.map(() => null))
})

test('a bias is cut with the outputs, and whole with the inputs', () => {
  expect(tpSplit(TP_STYLES['colwise']!, 'bias')).toEqual({ dimension: -1, axis: 'tp' })
  expect(tpSplit(TP_STYLES['packed_colwise']!, 'bias')).toEqual({ dimension: -1, axis: 'tp', blocks: 2 })
  expect(tpSplit(TP_STYLES['rowwise']!, 'bias')).toBeNull()
})

test('GPTQ and AWQ have inputs and outputs the other way round', () => {
  expect(tpSplit(TP_STYLES['colwise']!, 'qweight')).toEqual({ dimension: -1, axis: 'tp' })
  expect(tpSplit(TP_STYLES['rowwise']!, 'qweight')).toEqual({ dimension: -2, axis: 'tp' })
})
