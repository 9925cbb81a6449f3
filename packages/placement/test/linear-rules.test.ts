import { expect, test } from 'vitest'
import { columnRules, rowRules, wholeRule } from '../src/linear-rules.ts'
import { firstRule, tp } from './first-rule.ts'

test('columnRules() cut outputs, in units where they are given', () => {
  const policy = { rules: columnRules('q', { unit: 64 }) }
  expect(firstRule(policy, 'q.weight')).toEqual({ split: tp(0, { unit: 64 }) })
  expect(firstRule(policy, 'q.weight_packed')).toEqual({ split: tp(0, { unit: 64 }) })
  expect(firstRule(policy, 'q.bias')).toEqual({ split: tp(0, { unit: 64 }) })
  expect(firstRule(policy, 'q.qweight')).toEqual({ split: tp(1, { unit: 64 }) })
  expect(firstRule(policy, 'q.other')).toBeUndefined()
})

test('rowRules() cut inputs, and give the bias to one', () => {
  const policy = { rules: rowRules('o') }
  expect(firstRule(policy, 'o.weight')).toEqual({ split: tp(1) })
  expect(firstRule(policy, 'o.qweight')).toEqual({ split: tp(0) })
  expect(firstRule(policy, 'o.bias')).toEqual({ once: 'tp' })
})

test('rules of experts place by expert, and stages are passed on', () => {
  for (const rule of [...columnRules('{expert}.a'), ...rowRules('{expert}.a'), wholeRule('{expert}.a')]) {
    expect(rule.expert).toBe('ep')
  }
  for (const rule of [...columnRules('a', { stage: 'last' }), ...rowRules('a', { stage: 'last' })]) {
    expect(rule).toMatchObject({ stage: 'last' })
    expect(rule).not.toHaveProperty('expert')
  }
})
