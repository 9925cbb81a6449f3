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

test('columnRules() count units of packed outputs in integers', () => {
  const unitOf = (unit: number, packedOutputs: number) => {
    return firstRule({ rules: columnRules('q', { unit, packedOutputs }) }, 'q.qweight')?.split
  }
  expect(unitOf(64, 8)).toEqual(tp(1, { unit: 8 }))
  expect(unitOf(8, 8)).toEqual(tp(1))
  expect(unitOf(12, 8)).toEqual(tp(1))
})

test('rowRules() cut inputs, and leave the bias whole', () => {
  const policy = { rules: rowRules('o') }
  expect(firstRule(policy, 'o.weight')).toEqual({ split: tp(1) })
  expect(firstRule(policy, 'o.qweight')).toEqual({ split: tp(0) })
  expect(firstRule(policy, 'o.bias')).toEqual({ replicate: true })
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
