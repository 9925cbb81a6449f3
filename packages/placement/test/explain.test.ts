import { describe, expect, test } from 'vitest'
import { Plan } from '../src/plan.ts'
import { bodyOf, hostNamed, smallBody, thrownBy, workerNamed } from './plans.ts'

describe('explainPlan()', () => {
  test('tells mesh, hosts, workers and reasons', () => {
    const hosts = [hostNamed('h0', { memoryBytes: 2_000_000_000 })]
    const plan = Plan.of({ ...smallBody(), hosts })
    expect(plan.explain()).toBe(`Mesh       pp 1 × tp 2 × ep 1 × 1 replica
Objective  balanced
Tensors    3 in 2 shards, 156 B
Layout     ${plan.layout}

Host  Workers    Limit  Unique  Arena
h0          2  2.00 GB   156 B   48 B

Worker  Host  NUMA  Replica  pp  ep  tp  Limit  Bytes  Tensors
w0      h0       0        0   0   0   0   none   84 B        3
w1      h0       0        0   0   0   1   none   84 B        3

Tensors  Bytes  Reason
      2  108 B  rule 0: cut along tp
      1   48 B  rule 1: on every worker
`)
  })

  test('lists the parts of selected tensors', () => {
    const text = Plan.of(smallBody()).explain({ tensors: (name) => name !== 'norm' })
    expect(text.split('\n\n').slice(-2).join('\n\n')).toBe(`"rows" F32 [4, 6], bytes 8 to 104 of "model-0.safetensors"
  rule 0: cut along tp
  [0:2, :] 48 B in place: "w0"
  [2:4, :] 48 B in place: "w1"

"columns" BF16 [4, 6], bytes 104 to 152 of "model-0.safetensors"
  rule 1: on every worker
  [:, 0:3] 24 B arena: "w0"
  [:, 3:6] 24 B arena: "w1"
`)
  })

  test('tells only about one worker, with all its tensors or with some', () => {
    const hosts = [hostNamed('h0'), hostNamed('h1')]
    const workers = [workerNamed('w0'), workerNamed('w1', { tp: 1, host: 'h1' })]
    const body = smallBody()
    const only0 = { name: 'only 0', dtype: 'U8', shape: [2], parts: [{ ranges: [], workers: [0] }] } as const
    const plan = Plan.of(bodyOf([...body.tensors, only0], { hosts, workers }))
    const text = plan.explain({ worker: 'w1' })
    expect(text).toMatch(/^h1 +1/m)
    expect(text).not.toMatch(/^h0/m)
    expect(text).toMatch(/^w1 /m)
    expect(text).not.toMatch(/^w0/m)
    expect(text).toMatch(/^ +2 +60 B +rule 0/m)
    expect(text).not.toContain('only 0')
    expect(text).toContain('[2:4, :] 48 B in place: "w1"')
    expect(text).not.toContain('[0:2, :]')
    const norm = plan.explain({ worker: 'w1', tensors: (name) => name === 'norm' })
    expect(norm).toContain('"norm" F16 [6]')
    expect(norm).not.toContain('"rows"')
    expect(thrownBy(() => plan.explain({ worker: 'w2' })).code).toBe('WORKER_UNKNOWN')
  })

  test('tells NUMA nodes where there are several or they have limits', () => {
    const hosts = [hostNamed('h0', { numaNodes: [{ memoryBytes: 1000 }, { memoryBytes: null }] })]
    const workers = [workerNamed('w0'), workerNamed('w1', { tp: 1, numaNode: 1 })]
    const text = Plan.of({ ...smallBody(), hosts, workers }).explain()
    expect(text).toMatch(/^ {2}NUMA node 0 +1 +1.00 kB +84 B$/m)
    expect(text).toMatch(/^ {2}NUMA node 1 +1 +none +84 B$/m)
  })

  test('draws no lines and colours from what names and reasons hold', () => {
    const parts = [{ ranges: [], workers: [0, 1] }]
    const name = 'a\nb\u001b[31m'
    const body = bodyOf([{ name, dtype: 'U8', shape: [2], parts }], { reasons: ['say "x"\u001b[0m\nMesh', ''] })
    const text = Plan.of(body).explain({ tensors: () => true })
    expect(text).not.toContain('\u001b')
    expect(text).toContain('"a\\nb\\u001b[31m"')
    expect(text).toContain('say "x"\\u001b[0m\\nMesh')
    expect(text.match(/^Mesh/gm)).toHaveLength(1)
  })
})
