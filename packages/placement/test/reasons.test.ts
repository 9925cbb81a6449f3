import { expect, test } from 'vitest'
import { planPlacement } from '../src/plan-placement.ts'
import type { Policy } from '../src/policy.ts'
import { topologyFor } from './random-models.ts'
import { indexOf } from './real-headers.ts'

const names = ['l.0.w', 'l.0.w_s', 'l.1.e.0', 'l.1.e.1', 'p', 'q', 'r', 'n']
const index = indexOf(names.map((name) => [name, 'U8', name === 'n' ? [] : [4, 4]]))

function reasons(policy: Partial<Policy>): Record<string, string> {
  const mesh = { pp: 2, tp: 2, ep: 2, replicas: 1, ...policy.mesh }
  const { data } = planPlacement(index, topologyFor(mesh), {
    companions: [{ match: '{name}_s', of: '{name}' }],
    rules: [
      {
        match: 'l.{layer}.w',
        split: [
          { dimension: 1, axis: 'tp' },
          { dimension: 0, axis: 'ep' },
        ],
      },
      { match: 'l.{layer}.e.{expert}', expert: 'ep', split: { dimension: 0, axis: 'tp' } },
      { match: 'p', replicate: true, stage: 'auto' },
      { match: 'q', pin: ['w0', 'w1'] },
      { match: 'r', replicate: true, stage: ['first', 1] },
      { match: '*', split: { dimension: 0, axis: 'tp' }, stage: 'last' },
    ],
    ...policy,
    mesh,
  })
  return Object.fromEntries(data.tensors.map(({ name, reason }) => [name, data.reasons[reason]!]))
}

test('reasons say which rule, what was cut, and what chose the stage', () => {
  expect(reasons({ together: [['p', 'l.0.*']] })).toEqual({
    'l.0.w':
      'rules[0] "l.{layer}.w": dimension 0 cut along ep, dimension 1 cut along tp; layer → stage by balanced; together with its group',
    'l.0.w_s':
      'companion {name}_s follows {name} by rules[0] "l.{layer}.w": dimension 0 cut along ep, dimension 1 cut along tp; layer → stage by balanced; together with its group',
    'l.1.e.0':
      'rules[1] "l.{layer}.e.{expert}": dimension 0 cut along tp, expert → position along ep; layer → stage by balanced',
    'l.1.e.1':
      'rules[1] "l.{layer}.e.{expert}": dimension 0 cut along tp, expert → position along ep; layer → stage by balanced',
    p: 'rules[2] "p": whole; stage by balanced; together with its group',
    q: 'rules[3] "q": whole, pinned to w0, w1',
    r: 'rules[4] "r": whole; first stage and stage 1',
    n: 'rules[5] "*": whole, nothing to cut; last stage',
  })
})

test('reasons name the objective', () => {
  expect(reasons({ objective: 'min-peak' })['p']).toBe('rules[2] "p": whole; stage by min-peak')
})
