import { describe, expect, test } from 'vitest'
import { readPattern, readRule } from '../src/read-rule.ts'

const read = (rule: unknown) => readRule(rule, 'rules[0]', 4)
const refused = (rule: unknown, field: string, message: RegExp) => {
  expect(() => read(rule)).toThrow(expect.objectContaining({ code: 'POLICY_INVALID', field }))
  expect(() => read(rule)).toThrow(message)
}

describe('readRule()', () => {
  test('gives back every kind of rule as it is', () => {
    for (const rule of [
      { match: 'a', replicate: true },
      { match: 'a', pin: 'w0' },
      { match: 'a', pin: ['w0', 'w1'] },
      { match: 'a.{layer}', split: { dimension: -1, axis: 'tp', blocks: [2, 3], unit: 4 }, stage: 'auto' },
      {
        match: 'a',
        split: [
          { dimension: 0, axis: 'ep' },
          { dimension: 1, axis: 'tp', blocks: 2 },
        ],
        stage: [0, 'last'],
      },
      { match: 'e.{expert}', expert: 'ep' },
      { match: 'e.{expert}', expert: 'ep', replicate: true },
      { match: { regex: '(?<expert>\\d+)' }, expert: 'ep', split: { dimension: 0, axis: 'tp' } },
    ]) {
      expect(read(rule)).toEqual(rule)
    }
  })

  test('wants exactly one of split, replicate and pin', () => {
    refused({ match: 'a' }, 'rules[0]', /says none of split, replicate, once, pin and expert: it must say exactly one/)
    refused({ match: 'a', replicate: true, pin: 'w' }, 'rules[0]', /says replicate and pin/)
    refused({ match: 'a', replicate: false }, 'rules[0].replicate', /is false: it must be true, or left out/)
  })

  test('wants {expert} where experts are placed, and no other choice of ep or workers', () => {
    refused({ match: 'a.{layer}', expert: 'ep' }, 'rules[0].expert', /"a\.\{layer\}" captures no \{expert\}/)
    refused({ match: 'a.{expert}', expert: 'tp' }, 'rules[0].expert', /one of "ep"/)
    refused({ match: 'a.{expert}', expert: 'ep', pin: 'w' }, 'rules[0].expert', /left out where pin/)
    const split = { dimension: 0, axis: 'ep' }
    refused({ match: 'a.{expert}', expert: 'ep', split }, 'rules[0].split.axis', /places by expert along ep already/)
  })

  test('wants splits of different axes and dimensions, of positive blocks and units', () => {
    const two = (a: object, b: object) => ({ match: 'a', split: [a, b] })
    const tp = { dimension: 0, axis: 'tp' }
    refused(two(tp, { dimension: 1, axis: 'tp' }), 'rules[0].split[1].axis', /another axis/)
    refused(two(tp, { dimension: 0, axis: 'ep' }), 'rules[0].split[1].dimension', /another dimension/)
    refused({ match: 'a', split: [] }, 'rules[0].split', /at least 1/)
    refused({ match: 'a', split: { dimension: 0 } }, 'rules[0].split.axis', /undefined: it must be one of "tp", "ep"/)
    refused({ match: 'a', split: { axis: 'tp' } }, 'rules[0].split.dimension', /must be an integer/)
    refused({ match: 'a', split: { ...tp, blocks: 0 } }, 'rules[0].split.blocks', /positive integer/)
    refused({ match: 'a', split: { ...tp, blocks: [4, 0] } }, 'rules[0].split.blocks[1]', /positive integer/)
    refused({ match: 'a', split: { ...tp, unit: 0.5 } }, 'rules[0].split.unit', /positive integer/)
    refused({ match: 'a', split: { ...tp, dimenson: 1 } }, 'rules[0].split.dimenson', /nearest: "dimension"/)
  })

  test('wants stages of the mesh, and none beside a pin', () => {
    expect(read({ match: 'a', replicate: true, stage: 3 }).stage).toBe(3)
    refused({ match: 'a', replicate: true, stage: 4 }, 'rules[0].stage', /from 0 to 3/)
    refused({ match: 'a', replicate: true, stage: ['first', 'lst'] }, 'rules[0].stage[1]', /"first", "last", "auto"/)
    refused({ match: 'a', replicate: true, stage: null }, 'rules[0].stage', /the number of a stage/)
    refused({ match: 'a', pin: 'w', stage: 'first' }, 'rules[0].stage', /left out where pin/)
  })

  test('takes a prefix that is to be found, at the beginning only, and what the rule was made from', () => {
    const rule = { match: '{prefix}a.{layer}', replicate: true, entry: 'plan["a"]' } as const
    expect(read(rule)).toEqual(rule)
    refused({ match: 'a.{prefix}b', replicate: true }, 'rules[0].match', /has \{prefix\}, but only \{layer\} and/)
    refused({ match: 'a', replicate: true, entry: 7 }, 'rules[0].entry', /must be a string/)
  })

  test('wants workers of a pin once', () => {
    refused({ match: 'a', pin: ['w', 'v', 'w'] }, 'rules[0].pin[2]', /named once/)
    refused({ match: 'a', pin: [] }, 'rules[0].pin', /at least 1/)
  })
})

describe('readPattern()', () => {
  test('takes a RegExp object apart', () => {
    expect(readPattern(/a(?<layer>\d+)/u, 'f')).toEqual({ regex: 'a(?<layer>\\d+)' })
  })

  test('refuses flags that change what matches, and what is no pattern', () => {
    for (const flags of ['i', 'm', 's', 'g', 'y', 'iu']) {
      expect(() => readPattern(new RegExp('a', flags), 'f')).toThrow(/without flags but u/)
    }
    expect(() => readPattern(7, 'f')).toThrow('Policy field f is 7: it must be a glob, or an object with a regex')
    expect(() => readPattern({ regexp: 'a' }, 'f')).toThrow(/nearest: "regex"/)
    expect(() => readPattern({ regex: '(' }, 'f')).toThrow(/no regular expression/)
  })
})
