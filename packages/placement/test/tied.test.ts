import { expect, test } from 'vitest'
import { planPlacement } from '../src/plan-placement.ts'
import type { Rule } from '../src/policy.ts'
import { thrownBy } from './plans.ts'
import { topologyFor } from './random-models.ts'
import { indexOf } from './real-headers.ts'

const mesh = { pp: 2, tp: 2, ep: 1, replicas: 1 }
const tied = [['embed', 'head']]

function plan(names: readonly string[], embed: Partial<Rule>, head: Partial<Rule>) {
  const rules: readonly Rule[] = [
    { match: 'embed', stage: 'first', ...embed },
    { match: 'head', stage: 'last', ...head },
  ]
  const index = indexOf(names.map((name) => [name, 'U8', [4, 4]]))
  return planPlacement(index, topologyFor(mesh), { mesh, rules, tied }).data
}

const rows: Partial<Rule> = { split: { dimension: 0, axis: 'tp' } }

test.each([[['embed']], [['head']], [['embed', 'head']]])(
  'tied tensors are in the stages of both names: %j',
  (names) => {
    const { tensors, reasons } = plan(names, rows, { split: { dimension: -2, axis: 'tp', blocks: [4], unit: 2 } })
    for (const { parts, reason } of tensors) {
      expect(parts).toEqual([
        { ranges: [[0, 2]], workers: [0, 2] },
        { ranges: [[2, 4]], workers: [1, 3] },
      ])
      expect(reasons[reason]).toContain('wherever one of its tied names is')
    }
  },
)

test.each([
  ['another split', rows, { split: { dimension: 1, axis: 'tp' } }],
  ['no split', rows, { replicate: true }],
  ['a pin', { replicate: true }, { pin: 'w3', stage: undefined }],
] as const)('refuses %s, also of a name that there is not, naming both tensors and rules', (_, embed, head) => {
  for (const names of [['embed', 'head'], ['embed']]) {
    const error = thrownBy(() => plan(names, embed, head as Partial<Rule>))
    expect(error).toMatchObject({
      code: 'RULES_CONTRADICT',
      field: 'tied[0]',
      details: { tensors: ['embed', 'head'], rules: ['rules[0]', 'rules[1]'] },
    })
    expect(error.message).toBe(
      'Tied tensors must be cut and placed alike, but "embed" (rules[0] "embed") and "head" (rules[1] "head") are not',
    )
  }
})

test('refuses a companion, which follows already', () => {
  const index = indexOf([
    ['embed', 'U8', [4, 4]],
    ['embed_s', 'U8', [4, 4]],
  ])
  const rules: readonly Rule[] = [{ match: '*', replicate: true, stage: 'first' }]
  const policy = { mesh, rules, tied: [['embed', 'embed_s']], companions: [{ match: '{name}_s', of: '{name}' }] }
  expect(thrownBy(() => planPlacement(index, topologyFor(mesh), policy))).toMatchObject({
    code: 'RULES_CONTRADICT',
    tensor: 'embed_s',
    message: 'Tensor "embed_s" is tied, but follows "embed"',
  })
})
