import { describe, expect, test } from 'vitest'
import { type Assignment, assignRules, readyRules, ruleOf } from '../src/assign-rules.ts'
import type { Companion, Rule } from '../src/policy.ts'
import { thrownBy } from './plans.ts'
import { indexOf } from './real-headers.ts'

const rules = readyRules([
  { match: 'layers.{layer}.a', replicate: true },
  { match: 'layers.{layer}.*', replicate: true, stage: 'first' },
])

function assign(names: readonly string[], companions: readonly Companion[] = [], list = rules): readonly Assignment[] {
  const { tensors } = indexOf(names.map((name) => [name, 'U8', [1]]))
  return assignRules(tensors, list, companions)
}

test('readyRules() names rules by their field and pattern', () => {
  const list: readonly Rule[] = [
    { match: 'a.*', replicate: true },
    { match: { regex: 'b' }, replicate: true },
  ]
  expect(readyRules(list).map(({ place, field, text }) => [place, field, text])).toEqual([
    [0, 'rules[0]', 'rules[0] "a.*"'],
    [1, 'rules[1]', 'rules[1] /b/'],
  ])
})

test('ruleOf() takes the first that matches', () => {
  expect(ruleOf('layers.4.a', rules)).toMatchObject({ rule: rules[0], captures: { layer: 4 } })
  expect(ruleOf('layers.4.b', rules)).toMatchObject({ rule: rules[1] })
  expect(ruleOf('other', rules)).toBeNull()
})

describe('assignRules()', () => {
  test('lets companions follow before rules are asked, where there is what they belong to', () => {
    const companions = [
      { match: '{name}_scale', of: '{name}' },
      { match: '{name}_scale', of: '{name}_packed' },
    ]
    const assigned = assign(
      ['layers.0.a', 'layers.0.a_scale', 'layers.0.b_packed', 'layers.0.b_scale', 'layers.0.c_scale'],
      companions,
    )
    expect(assigned[0]).toMatchObject({ rule: rules[0] })
    expect(assigned[1]).toEqual({ rule: null, owner: 0, companion: companions[0] })
    expect(assigned[3]).toEqual({ rule: null, owner: 2, companion: companions[1] })
    expect(assigned[4]).toMatchObject({ rule: rules[1] })
  })

  test('does not let the two ends of a template overlap in a name', () => {
    const companions = [{ match: 'aba{name}aba', of: '{name}' }]
    const list = readyRules([{ match: '**', replicate: true }])
    expect(assign(['aba', 'ababa'], companions, list).map(({ rule }) => rule)).toEqual([list[0], list[0]])
  })

  test('names the first tensors that no rule covers, and how many there are', () => {
    const one = thrownBy(() => assign(['layers.0.a', 'x']))
    expect(one).toMatchObject({ code: 'TENSOR_UNCOVERED', tensor: 'x', message: 'No rule covers tensor "x"' })
    const names = Array.from({ length: 7 }, (_, at) => `x${at}`)
    const many = thrownBy(() => assign(names))
    expect(many.message).toBe('No rule covers these 7 tensors: "x0", "x1", "x2", "x3", "x4" and 2 more')
    expect(many.details).toEqual({ count: 7, tensors: names.slice(0, 5) })
  })

  test('refuses companions in a circle, and takes chains', () => {
    const chain = [
      { match: '{name}.b', of: '{name}.a' },
      { match: '{name}.c', of: '{name}.b' },
    ]
    const assigned = assign(['layers.0.a', 'layers.0.b', 'layers.0.c'], chain)
    expect(assigned.map((one) => (one.rule === null ? one.owner : null))).toEqual([null, 0, 1])
    const circle = [...chain, { match: '{name}.a', of: '{name}.c' }]
    const error = thrownBy(() => assign(['layers.0.a', 'layers.0.b', 'layers.0.c'], circle))
    expect(error).toMatchObject({ code: 'RULES_CONTRADICT', field: 'companions' })
    expect(error.message).toContain('"layers.0.a", "layers.0.c", "layers.0.b"')
  })
})
