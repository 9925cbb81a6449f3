import { describe, expect, test } from 'vitest'
import type { Policy } from '../src/policy.ts'
import { readPolicy } from '../src/read-policy.ts'

const RULES = [{ match: '**', replicate: true }]
const refused = (policy: unknown, field: string | undefined, message: RegExp) => {
  expect(() => readPolicy(policy)).toThrow(expect.objectContaining({ code: 'POLICY_INVALID', field }))
  expect(() => readPolicy(policy)).toThrow(message)
}

const FULL: Policy = {
  mesh: { pp: 2, tp: 4, ep: 1, replicas: 3 },
  rules: [
    { match: '**.{layer}.w', split: { dimension: 0, axis: 'tp' } },
    { match: '**', replicate: true, stage: 'auto' },
  ],
  companions: [{ match: '{name}_scale', of: '{name}', block: [128, 128] }],
  stages: {
    layers: [
      [0, 3],
      [3, 8],
    ],
  },
  together: [['a.{layer}.**', { regex: 'b' }]],
  tied: [['a', 'b']],
  objective: 'min-peak',
}

describe('readPolicy()', () => {
  test('gives back a policy with everything in it, from JSON too', () => {
    expect(readPolicy(FULL)).toEqual(FULL)
    expect(readPolicy(JSON.parse(JSON.stringify(FULL)))).toEqual(FULL)
  })

  test('leaves out what is undefined, and fills nothing in', () => {
    const policy = readPolicy({ rules: RULES, mesh: { tp: 2, pp: undefined }, objective: undefined, stages: {} })
    expect(Object.keys(policy).sort()).toEqual(['mesh', 'rules', 'stages'])
    expect(Object.keys(policy.mesh!)).toEqual(['tp'])
  })

  test('turns RegExp objects into plain data', () => {
    const policy = readPolicy({ rules: [{ match: /a/u, replicate: true }], together: [[/b/]] })
    expect(policy).toEqual({ rules: [{ match: { regex: 'a' }, replicate: true }], together: [[{ regex: 'b' }]] })
  })

  test('names a field with a typo, and the nearest right one', () => {
    refused(
      { rules: RULES, objektive: 'balanced' },
      'objektive',
      /A policy has no field "objektive".*nearest: "objective"/,
    )
    refused({ rules: [...RULES, { match: 'a', spilt: {} }] }, 'rules[1].spilt', /nearest: "split"/)
    refused({ rules: RULES, mesh: { pt: 2 } }, 'mesh.pt', /nearest: "pp", "tp"/)
  })

  test('wants an object with rules', () => {
    refused(null, undefined, /The policy is null: it must be an object/)
    refused({}, 'rules', /is undefined: it must be an array/)
    refused({ rules: [] }, 'rules', /an array of at least 1/)
  })

  test('wants sizes of the mesh that are positive integers', () => {
    for (const tp of [0, -1, 1.5, '2', null, 10_000])
      refused({ rules: RULES, mesh: { tp } }, 'mesh.tp', /from 1 to 8192/)
  })

  test('refuses two rules that do different things with one pattern, and names both', () => {
    const rules = [{ match: 'a', replicate: true }, ...RULES, { match: 'a', pin: 'w0' }]
    expect(() => readPolicy({ rules })).toThrow(
      expect.objectContaining({
        code: 'RULES_CONTRADICT',
        field: 'rules[2]',
        details: { first: 0, second: 2, pattern: '"a"' },
        message: 'rules[0] and rules[2] do different things with "a": only the first of them would count',
      }),
    )
    const split = { dimension: 0, axis: 'tp' }
    expect(() =>
      readPolicy({
        rules: [
          { match: 'a', split },
          { match: 'a', split: { ...split, unit: 2 } },
        ],
      }),
    ).toThrow(/do different things/)
    expect(() =>
      readPolicy({
        rules: [
          { match: 'a', replicate: true },
          { match: 'a', replicate: true, stage: 0 },
        ],
      }),
    ).toThrow(/do different things/)
  })

  test('takes two rules that do the same, however they are written, and a glob beside a regular expression', () => {
    const split = { dimension: 0, axis: 'tp' }
    const same = [
      { match: 'a', split },
      { match: 'a', split: [{ ...split, blocks: 1 }] },
      { match: 'b', pin: 'w' },
      { match: 'b', pin: ['w'] },
      { match: 'c.{expert}', expert: 'ep' },
      { match: 'c.{expert}', expert: 'ep', replicate: true },
      { match: { regex: 'a' }, replicate: true },
    ]
    expect(readPolicy({ rules: same }).rules).toEqual(same)
  })

  test('wants companions with one {name} in both names', () => {
    const companion = (match: string, of = '{name}', block?: unknown) => ({
      rules: RULES,
      companions: [{ match, of, block }],
    })
    refused(companion('scale'), 'companions[0].match', /\{name\} in it exactly once/)
    refused(companion('{name}.{name}'), 'companions[0].match', /exactly once/)
    refused(companion('{name}_s', 'w'), 'companions[0].of', /exactly once/)
    refused(companion('{name}_s*'), 'companions[0].match', /without globs/)
    refused(companion('{name}', '{name}'), 'companions[0].of', /no tensor is its own companion/)
    refused(companion('{name}_s', '{name}', []), 'companions[0].block', /at least 1/)
    refused(companion('{name}_s', '{name}', [0]), 'companions[0].block[0]', /positive integer/)
  })

  test('wants a range of layers for each stage, each layer once', () => {
    const stages = (layers: unknown) => ({ rules: RULES, mesh: { pp: 2 }, stages: { layers } })
    expect(
      readPolicy(
        stages([
          [4, 8],
          [0, 4],
        ]),
      ).stages,
    ).toEqual({
      layers: [
        [4, 8],
        [0, 4],
      ],
    })
    expect(
      readPolicy(
        stages([
          [0, 4],
          [2, 2],
        ]),
      ).stages,
    ).toEqual({
      layers: [
        [0, 4],
        [2, 2],
      ],
    })
    refused(stages([[0, 4]]), 'stages.layers', /one range for each of the 2 stages/)
    refused(
      stages([
        [0, 4],
        [3, 8],
      ]),
      'stages.layers[1]',
      /has layers of stages\.layers\[0\]/,
    )
    refused(
      stages([
        [0, 4],
        [8, 4],
      ]),
      'stages.layers[1][1]',
      /at least 8/,
    )
    refused(stages([[0, 4], [4]]), 'stages.layers[1]', /\[begin, end\]/)
  })

  test('wants groups of patterns and of names that are in one group only', () => {
    refused({ rules: RULES, together: [[]] }, 'together[0]', /at least 1/)
    refused({ rules: RULES, together: [['{a']] }, 'together[0][0]', /opening brace/)
    refused({ rules: RULES, tied: [['a']] }, 'tied[0]', /at least 2/)
    refused(
      {
        rules: RULES,
        tied: [
          ['a', 'b'],
          ['c', 'a'],
        ],
      },
      'tied[1][1]',
      /in one group only/,
    )
    refused({ rules: RULES, objective: 'blanced' }, 'objective', /one of "balanced"/)
  })
})
