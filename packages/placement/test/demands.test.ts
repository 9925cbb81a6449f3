import { describe, expect, test } from 'vitest'
import { readyRules, ruleOf } from '../src/assign-rules.ts'
import { demandOf } from '../src/demands.ts'
import type { Rule } from '../src/policy.ts'
import { thrownBy } from './plans.ts'

function demand(name: string, rule: Omit<Rule, 'match'>, stageCount: number, match: Rule['match'] = NUMBERED) {
  const rules = readyRules([{ match, ...rule }])
  return demandOf(name, ruleOf(name, rules)!, stageCount)
}

const NUMBERED = { regex: '(.*\\.(?<layer>\\d+)\\.)?w' }

const whole = { replicate: true } as const

describe('demandOf()', () => {
  test.each([
    ['layers.3.w', {}, { fixed: [], units: [{ name: 'layers.', layer: 3 }] }],
    ['layers.3.w', { stage: 'auto' }, { fixed: [], units: [{ name: 'layers.', layer: 3 }] }],
    ['layers.3.w', { stage: 'first' }, { fixed: [0], units: [] }],
    ['w', { stage: 'auto' }, { fixed: [], units: [{ name: 'w', layer: null }] }],
    ['w', { stage: 'last' }, { fixed: [3], units: [] }],
    ['w', { stage: 2 }, { fixed: [2], units: [] }],
    ['w', { stage: ['last', 0, 'first'] }, { fixed: [0, 3], units: [] }],
    ['layers.3.w', { stage: ['auto', 1] }, { fixed: [1], units: [{ name: 'layers.', layer: 3 }] }],
  ] as const)('of %s with %j', (name, choice, expected) => {
    expect(demand(name, { ...whole, ...choice }, 4)).toEqual(expected)
  })

  test('asks for nothing where workers are pinned', () => {
    expect(demand('w', { pin: 'w0' }, 4)).toEqual({ fixed: [], units: [] })
  })

  test('needs no choice for one stage, but for several', () => {
    expect(demand('w', whole, 1)).toEqual({ fixed: [0], units: [] })
    const error = thrownBy(() => demand('w', whole, 4, 'w'))
    expect(error).toMatchObject({
      code: 'STAGE_MISSING',
      tensor: 'w',
      field: 'rules[0].stage',
      details: { stageCount: 4 },
    })
    expect(error.message).toBe('Tensor "w" has no {layer} by rules[0] "w", which must say its stage: there are 4')
  })
})
