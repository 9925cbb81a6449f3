import { expect, test } from 'vitest'
import { oneHost } from '../src/one-host.ts'
import { planPlacement } from '../src/plan-placement.ts'
import { foundPrefix } from '../src/prefix.ts'
import { fromTpPlan } from '../src/tp-plan.ts'
import { indexOf, type Listed } from './real-headers.ts'

const PLAN = {
  'layers.*.self_attn.q_proj': 'colwise',
  'layers.*.self_attn.o_proj': 'rowwise',
  'layers.*.mlp.gate_proj': 'colwise',
}
const MODULES = ['self_attn.q_proj', 'self_attn.o_proj', 'mlp.gate_proj']

function model(prefix: string, extra: readonly string[] = [], layers = 2): readonly Listed[] {
  const names = MODULES.flatMap((name) =>
    Array.from({ length: layers }, (_, at) => `${prefix}layers.${at}.${name}.weight`),
  )
  return [...names, ...extra].map((name): Listed => [name, 'BF16', [8, 8]])
}

/** Names of the tensors that were cut. */
function cutTensors(listed: readonly Listed[], plan: Readonly<Record<string, string>> = PLAN, prefix?: string) {
  const policy = fromTpPlan(plan, { tp: 2, ...(prefix !== undefined && { prefix }) })
  const { data, notices } = planPlacement(indexOf(listed), oneHost(2), policy)
  return { notices, cut: data.tensors.filter(({ parts }) => parts.length > 1).map(({ name }) => name) }
}

test.each(['', 'model.', 'language_model.model.', 'model.language_model.', 'transformer.', 'a.b{c}.d.'])(
  'the prefix "%s" is found by matching',
  (prefix) => {
    const listed = model(prefix)
    const { cut, notices } = cutTensors(listed)
    expect(new Set(cut)).toEqual(new Set(listed.map(([name]) => name)))
    expect(notices).toEqual([])
  },
)

test('what has fewer of the modules is left alone, however many layers it has', () => {
  const tower = Array.from({ length: 9 }, (_, layer) => `vision_tower.layers.${layer}.self_attn.q_proj.weight`)
  const { cut, notices } = cutTensors(model('model.language_model.', tower))
  expect(cut).toHaveLength(6)
  expect(notices).toEqual([])
})

test('two models that have the same modules are said', () => {
  const { cut, notices } = cutTensors([...model('backbone.', [], 3), ...model('depth.', [], 2)])
  expect(cut.every((name) => name.startsWith('backbone.'))).toBe(true)
  expect(notices).toEqual([
    'The rules fit names that begin with "backbone." and with "depth." alike, and only the first are taken',
  ])
})

test('a whole model’s plan has the prefix already', () => {
  const plan = Object.fromEntries(Object.entries(PLAN).map(([name, style]) => [`model.${name}`, style]))
  expect(cutTensors(model('model.'), { ...plan, lm_head: 'colwise_gather_output' }).cut).toHaveLength(6)
})

test('a prefix that is given is taken, and entries that match nothing with it are said', () => {
  const { cut, notices } = cutTensors(model('language_model.model.'), PLAN, 'model.')
  expect(cut).toEqual([])
  expect(notices).toEqual([
    'No tensor matches plan["layers.*.self_attn.q_proj"], plan["layers.*.self_attn.o_proj"], plan["layers.*.mlp.gate_proj"]',
    'No tensor is cut along tp: all 2 positions along it hold the same',
  ])
})

test('rules without a prefix to be found stay as they are', () => {
  const rules = [{ match: '**', replicate: true }] as const
  expect(foundPrefix(rules, [{ name: 'a' }])).toEqual({ rules, notices: [] })
})
