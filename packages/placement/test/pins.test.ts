import { expect, test } from 'vitest'
import { assignRules, readyRules } from '../src/assign-rules.ts'
import { pinnedWorkers } from '../src/pins.ts'
import { planPlacement } from '../src/plan-placement.ts'
import type { Rule } from '../src/policy.ts'
import { thrownBy } from './plans.ts'
import { topologyFor } from './random-models.ts'
import { indexOf } from './real-headers.ts'

const mesh = { pp: 2, tp: 2, ep: 1, replicas: 1 }

test('pinnedWorkers() finds workers by name, for companions too', () => {
  const { tensors } = indexOf(['a', 'a_s', 'b'].map((name) => [name, 'U8', [1]]))
  const rules = readyRules([
    { match: 'a', pin: ['w3', 'w1'] },
    { match: 'b', replicate: true },
  ])
  const assignments = assignRules(tensors, rules, [{ match: '{name}_s', of: '{name}' }])
  expect(pinnedWorkers(assignments, [0, 0, 2], rules, topologyFor(mesh))).toEqual([[1, 3], [1, 3], []])
})

test('pinnedWorkers() refuses names that there are not, with the nearest', () => {
  const refuse = (rule: Rule) => thrownBy(() => pinnedWorkers([], [], readyRules([rule]), topologyFor(mesh)))
  const error = refuse({ match: 'a', pin: ['w1', 'w22'] })
  expect(error).toMatchObject({ code: 'WORKER_UNKNOWN', worker: 'w22', field: 'rules[0].pin[1]' })
  expect(error.candidates).toContain('w2')
  expect(error.message).toContain('rules[0] "a" pins to worker "w22", which there is not; nearest: ')
  expect(refuse({ match: 'a', pin: 'x-y-z' }).field).toBe('rules[0].pin')
})

test('a pinned tensor is whole on its workers, whatever the mesh, and counts there', () => {
  const rules: readonly Rule[] = [
    { match: 'a', pin: ['w3', 'w0'] },
    { match: '*.{layer}', split: { dimension: 0, axis: 'tp' } },
  ]
  const index = indexOf([
    ['a', 'U8', [100]],
    ['l.0', 'U8', [40]],
    ['l.1', 'U8', [40]],
  ])
  const { data } = planPlacement(index, topologyFor(mesh), { mesh, rules })
  expect(data.tensors.find(({ name }) => name === 'a')!.parts).toEqual([{ ranges: [], workers: [0, 3] }])
  expect(data.totals.workers).toEqual([120, 20, 20, 120])
  expect(data.reasons[data.tensors[0]!.reason]).toBe(
    'rules[1] "*.{layer}": dimension 0 cut along tp; layer → stage by balanced',
  )
  expect(data.reasons).toContain('rules[0] "a": whole, pinned to w3, w0')
})
