import { describe, expect, test } from 'vitest'
import { assignRules, readyRules } from '../src/assign-rules.ts'
import type { Policy, Rule } from '../src/policy.ts'
import { collectUnits, type Units } from '../src/units.ts'
import { thrownBy } from './plans.ts'
import { indexOf } from './real-headers.ts'

function collect(
  names: readonly string[],
  rules: readonly Rule[],
  { together, tied }: Partial<Pick<Policy, 'together' | 'tied'>> = {},
): Units & { of: (name: string) => readonly [fixed: readonly number[], units: readonly number[]] } {
  const { tensors } = indexOf(names.map((name) => [name, 'U8', [1]]))
  const ready = readyRules(rules)
  const assignments = assignRules(tensors, ready, [{ match: '{name}_s', of: '{name}' }])
  const roots = assignments.map((assignment, place) => (assignment.rule === null ? assignment.owner : place))
  const groups = { ...(together && { together }), ...(tied && { tied }) }
  const found = collectUnits(tensors, assignments, roots, ready, groups, 4)
  return {
    ...found,
    of: (name) => {
      const { fixed, units } = found.needs[names.indexOf(name)]!
      return [fixed, units]
    },
  }
}

const whole = { replicate: true } as const
const layered: Rule = { match: '{enc,dec}.{layer}.*', ...whole }

describe('collectUnits()', () => {
  test('makes a unit of each layer and each free tensor, by rule, then as declared, then by number', () => {
    const names = ['enc.10.w', 'enc.9.w', 'dec.0.w', 'enc.9.w_s', 'x.2', 'x.10', 'a']
    const rules: readonly Rule[] = [
      { match: 'a', ...whole, stage: 'auto' },
      layered,
      { match: '*.*', ...whole, stage: 'auto' },
    ]
    const { units, of } = collect(names, rules)
    expect(units.map(({ layers }) => layers)).toEqual([[], [9], [10], [0], [], []])
    expect(names.map((name) => of(name)[1])).toEqual([[2], [1], [3], [1], [4], [5], [0]])
  })

  test('puts stacks in the order in which rules first speak of them', () => {
    const rules: readonly Rule[] = [
      { match: 'enc.{layer}.a', ...whole },
      { match: 'dec.{layer}.*', ...whole },
      { match: 'enc.{layer}.*', ...whole },
    ]
    const { of } = collect(['dec.0.w', 'enc.0.w', 'enc.1.a'], rules)
    expect([of('enc.0.w'), of('enc.1.a'), of('dec.0.w')].map(([, units]) => units)).toEqual([[0], [1], [2]])
  })

  test('merges what is together by its numbers, at the place of the first', () => {
    const rules: readonly Rule[] = [layered, { match: '*', ...whole, stage: 'auto' }]
    const names = ['enc.0.w', 'enc.1.w', 'dec.0.w', 'dec.1.w', 'p', 'q']
    const { units, of, needs } = collect(names, rules, {
      together: [
        ['enc.{layer}.*', 'dec.{layer}.*'],
        ['p', 'enc.1.w'],
      ],
    })
    expect(units.map(({ layers }) => layers)).toEqual([[0, 0], [1, 1], []])
    expect(names.map((name) => of(name)[1])).toEqual([[0], [1], [0], [1], [1], [2]])
    expect(needs.map(({ together }) => together)).toEqual([true, true, true, true, true, false])
  })

  test('lets a fixed member take its group along', () => {
    const rules: readonly Rule[] = [
      layered,
      { match: 'head', ...whole, stage: 'last' },
      { match: '*', ...whole, stage: 'auto' },
    ]
    const { units, of } = collect(['enc.0.w', 'enc.1.w', 'head', 'p'], rules, {
      together: [['head', 'p', 'enc.1.*', 'gone']],
    })
    expect(units).toHaveLength(1)
    expect(of('p')).toEqual([[3], []])
    expect(of('enc.1.w')).toEqual([[3], []])
    expect(of('enc.0.w')).toEqual([[], [0]])
  })

  test('refuses a group with members in different stages, naming both and their rules', () => {
    const rules: readonly Rule[] = [
      { match: 'head', ...whole, stage: 'last' },
      { match: 'embed', ...whole, stage: 'first' },
    ]
    const error = thrownBy(() => collect(['embed', 'head'], rules, { together: [['embed', 'head']] }))
    expect(error).toMatchObject({ code: 'RULES_CONTRADICT', details: { tensors: ['embed', 'head'] } })
    expect(error.message).toBe(
      'Tensors that share a stage contradict each other: tensor "embed" (rules[1] "embed") must be in stages 0, and tensor "head" (rules[0] "head") in stages 3',
    )
  })

  test('puts tied tensors wherever one of their names goes, also of those that there are not', () => {
    const rules: readonly Rule[] = [
      layered,
      { match: 'embed', ...whole, stage: 'first' },
      { match: 'head', ...whole, stage: 'last' },
      { match: '*', ...whole, stage: 'auto' },
    ]
    const one = collect(['embed', 'enc.0.w'], rules, { tied: [['embed', 'head']] })
    expect(one.of('embed')).toEqual([[0, 3], []])
    expect(one.needs.map(({ tied }) => tied)).toEqual([true, false])
    const both = collect(['embed', 'head', 'enc.0.w'], rules, { tied: [['embed', 'head', 'enc.0.w']] })
    for (const name of ['embed', 'head', 'enc.0.w']) expect(both.of(name)).toEqual([[0, 3], [0]])
    expect(collect(['enc.0.w'], rules, { tied: [['embed', 'head']] }).of('enc.0.w')).toEqual([[], [0]])
  })

  test('lets tied tensors that may be anywhere go with the others, or together', () => {
    const rules: readonly Rule[] = [
      layered,
      { match: 'head', ...whole, stage: 'last' },
      { match: '*', ...whole, stage: 'auto' },
    ]
    expect(collect(['p', 'head'], rules, { tied: [['p', 'head']] }).of('p')).toEqual([[3], []])
    const free = collect(['p', 'q', 'enc.0.w'], rules, { tied: [['p', 'q']] })
    expect(free.of('q')).toEqual(free.of('p'))
    expect(free.units).toHaveLength(2)
    const layer = collect(['p', 'enc.0.w'], rules, { tied: [['p', 'enc.0.w']] })
    expect(layer.of('p')).toEqual(layer.of('enc.0.w'))
    expect(layer.units).toHaveLength(1)
  })

  test('refuses a tied name that no rule covers', () => {
    const error = thrownBy(() => collect(['enc.0.w'], [layered], { tied: [['enc.0.w', 'gone']] }))
    expect(error).toMatchObject({ code: 'TENSOR_UNCOVERED', tensor: 'gone', field: 'tied[0][1]' })
  })

  test('leaves pinned tensors out of groups', () => {
    const rules: readonly Rule[] = [layered, { match: 'p', pin: 'w0' }]
    const { of, units } = collect(['p', 'enc.0.w'], rules, { together: [['p', 'enc.0.w']] })
    expect(of('p')).toEqual([[], []])
    expect(units).toHaveLength(1)
  })
})
