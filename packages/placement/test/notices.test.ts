import { expect, test } from 'vitest'
import { fromDeviceMap } from '../src/device-map.ts'
import { oneHost } from '../src/one-host.ts'
import { planPlacement } from '../src/plan-placement.ts'
import type { Policy } from '../src/policy.ts'
import { fromTpPlan } from '../src/tp-plan.ts'
import { indexOf, type Listed } from './real-headers.ts'

const whole = { replicate: true } as const

function layers(count: number): readonly Listed[] {
  return Array.from({ length: count }, (_, layer): Listed => [`layers.${layer}.w`, 'F32', [4, 4]])
}

function noticesOf(listed: readonly Listed[], policy: Policy, workers: number): readonly string[] {
  const plan = planPlacement(indexOf(listed), oneHost(workers), policy)
  for (const notice of plan.notices) expect(plan.explain()).toContain(`\n  ${notice}\n`)
  return plan.notices
}

test('a rule that matches nothing is said, and one that comes too late, but no catch-all', () => {
  const split = { dimension: 0, axis: 'tp' } as const
  const rules: Policy['rules'] = [
    { match: 'layers.{layer}.w', split },
    { match: 'layer.{layer}.b', ...whole },
    { match: 'layers.1.w', pin: 'w0' },
    { match: '**', ...whole },
  ]
  expect(noticesOf(layers(2), { mesh: { tp: 2 }, rules }, 2)).toEqual([
    'No tensor matches rules[1] "layer.{layer}.b"',
    'Rules before them take all that is matched by rules[2] "layers.1.w"',
  ])
})

test('of rules with the same entry one has to match', () => {
  const entries = (match: string, entry: string) => ({ match, ...whole, entry })
  const rules = [entries('layers.{layer}.w', 'a'), entries('x', 'a'), entries('y', 'b'), entries('z', 'b')]
  expect(noticesOf(layers(1), { rules }, 1)).toEqual(['No tensor matches b'])
})

test('groups that name nothing are said', () => {
  const policy = {
    rules: [{ match: '**', ...whole }],
    together: [['layers.{layer}.*', 'h.{layer}.*']],
    tied: [['a', 'b']],
  }
  expect(noticesOf(layers(1), policy, 1)).toEqual(['No tensor matches together[0][1], tied[0]'])
})

test('a module of a device map that there is not is said', () => {
  expect(noticesOf(layers(1), fromDeviceMap({ '': 0, 'model.layers.0': 0 }, { devices: { 0: 'w0' } }), 1)).toEqual([
    'No tensor matches deviceMap["model.layers.0"]',
  ])
})

test('an axis along which nothing is cut is said, but not of pinned tensors', () => {
  expect(noticesOf(layers(1), { mesh: { tp: 2, ep: 2 }, rules: [{ match: '**', ...whole }] }, 4)).toEqual([
    'No tensor is cut along tp: all 2 positions along it hold the same',
    'No tensor is cut along ep: all 2 positions along it hold the same',
  ])
  const pinned: Policy = { mesh: { tp: 2 }, rules: [{ match: '**', pin: ['w0', 'w1'] }] }
  expect(noticesOf(layers(1), pinned, 2)).toEqual([])
})

test('fewer layers than stages, and workers that stay empty, are said', () => {
  const rules: Policy['rules'] = [{ match: 'layers.{layer}.w', ...whole }]
  expect(noticesOf(layers(2), { mesh: { pp: 4 }, rules }, 4)).toEqual([
    'There are 2 layers for 4 stages: stages 2, 3 get none',
    '2 of 4 workers stay empty: "w2", "w3"',
  ])
  expect(noticesOf(layers(4), { mesh: { pp: 4 }, rules }, 4)).toEqual([])
})

test('an expert-parallel plan that is given as the tensor-parallel one is refused', () => {
  const plan = { 'layers.*.mlp.experts.gate_up_proj': 'grouped_gemm', 'layers.*.mlp.gate': 'ep_router' }
  expect(() => fromTpPlan(plan, { tp: 8 })).toThrow(
    expect.objectContaining({ code: 'POLICY_INVALID', field: 'plan["layers.*.mlp.experts.gate_up_proj"]' }),
  )
  expect(() => fromTpPlan({}, { tp: 8, epPlan: plan })).toThrow(/every worker would hold all experts; give ep/)
  expect(() => fromTpPlan(plan, { ep: 8 })).not.toThrow()
})
