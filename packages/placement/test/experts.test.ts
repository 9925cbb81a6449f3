import { expect, test } from 'vitest'
import { assignRules, readyRules } from '../src/assign-rules.ts'
import { dealExperts } from '../src/experts.ts'
import type { Rule } from '../src/policy.ts'
import { thrownBy } from './plans.ts'
import { indexOf } from './real-headers.ts'

function deal(names: readonly string[], count: number, rules: readonly Rule[]): readonly (number | null)[] {
  const { tensors } = indexOf(names.map((name) => [name, 'U8', [1]]))
  return dealExperts(tensors, assignRules(tensors, readyRules(rules), []), count)
}

const rule: Rule = { match: '*.{layer}.{expert}', expert: 'ep' }
const named = (stack: string, count: number, layer = 0) => {
  return Array.from({ length: count }, (_, expert) => `${stack}.${layer}.${expert}`)
}

test('dealExperts() keeps neighbours together, as evenly as it goes', () => {
  expect(deal(named('a', 8), 4, [rule])).toEqual([0, 0, 1, 1, 2, 2, 3, 3])
  expect(deal(named('a', 10), 4, [rule])).toEqual([0, 0, 0, 1, 1, 2, 2, 2, 3, 3])
  expect(deal(named('a', 2), 4, [rule])).toEqual([0, 2])
})

test('dealExperts() counts by rule and stack, to the highest number of any layer', () => {
  const names = [...named('a', 4), 'a.1.1', ...named('b', 2)]
  expect(deal(names, 2, [rule])).toEqual([0, 0, 1, 1, 0, 0, 1])
  expect(deal(names, 2, [{ match: 'a.1.{expert}', expert: 'ep' }, rule])).toEqual([0, 0, 1, 1, 1, 0, 1])
})

test('dealExperts() leaves out what is not placed by expert, and meshes without that axis', () => {
  expect(deal(['a.0.3'], 2, [{ match: '*.{layer}.{expert}', replicate: true }])).toEqual([null])
  expect(deal(['a.0.3'], 1, [rule])).toEqual([null])
})

test('dealExperts() refuses a name without a number, naming the tensor and the rule', () => {
  const optional: Rule = { match: { regex: 'a(\\.(?<expert>\\d+))?' }, expert: 'ep' }
  expect(thrownBy(() => deal(['a', 'a.0'], 2, [optional]))).toMatchObject({
    code: 'POLICY_INVALID',
    tensor: 'a',
    field: 'rules[0]',
  })
})
