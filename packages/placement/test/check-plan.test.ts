import { layoutText, tensorIndex } from '@onecopy/safetensors'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkBody, checkPlan, type PlanBody } from '../src/check-plan.ts'
import { layoutOf } from '../src/layout.ts'
import type { PlacedTensor, PlanData } from '../src/plan-data.ts'
import { totalsOf } from '../src/totals.ts'
import { bodyArbitrary, hostNamed, smallBody, thrownBy, workerNamed } from './plans.ts'

const body = smallBody()

function dataOf(some: PlanBody): PlanData {
  return { format: 'onecopy-plan', version: 1, ...some, totals: totalsOf(some) }
}

/** The body with other fields in its first tensor, and the layout that belongs to it. */
function withTensor(fields: Partial<PlacedTensor>): PlanBody {
  const tensors = body.tensors.map((tensor, place) => (place === 0 ? { ...tensor, ...fields } : tensor))
  return { ...body, tensors, layout: layoutOf({ shards: body.shards, tensors }) }
}

const [w0, w1] = [workerNamed('w0'), workerNamed('w1', { tp: 1 })]

describe('checkBody()', () => {
  test('accepts every valid plan', () => {
    fc.assert(fc.property(bodyArbitrary, (valid) => checkBody(valid)))
  })

  test.each<[string, Partial<PlanBody>, string, string]>([
    ['a host twice', { hosts: [hostNamed('h0'), hostNamed('h0')] }, 'hosts[1].name', '"h0"'],
    ['a worker twice', { workers: [w0, { ...w1, name: 'w0' }] }, 'workers[1].name', '"w0"'],
    ['a host that there is not', { workers: [w0, { ...w1, host: 'h9' }] }, 'workers[1].host', '"h9"'],
    ['a NUMA node that there is not', { workers: [w0, { ...w1, numaNode: 1 }] }, 'workers[1].numaNode', 'node 1'],
    ['too few workers', { workers: [w0] }, 'mesh', '2 places'],
    ['a place outside the mesh', { workers: [w0, { ...w1, tp: 2 }] }, 'workers[1].tp', 'tp 2'],
    ['a replica outside the mesh', { workers: [w0, { ...w1, replica: 1 }] }, 'workers[1].replica', 'replica 1'],
    ['a place taken twice', { workers: [w0, { ...w1, tp: 0 }] }, 'workers[1]', '"w0" and "w1"'],
    ['another layout', { layout: '0'.repeat(64) }, 'layout', '0'.repeat(64)],
  ])('refuses %s', (_, change, field, told) => {
    const error = thrownBy(() => checkBody({ ...body, ...change }))
    expect(error).toMatchObject({ code: 'PLAN_INVALID', field })
    expect(error.message).toContain(told)
  })

  test.each(['', '.', '..', '../x.safetensors', 'a\\b', 'a\0'])('refuses the shard name %j', (name) => {
    const shards = [{ ...body.shards[0]!, name }, body.shards[1]!]
    expect(thrownBy(() => checkBody({ ...body, shards })).field).toBe('shards[0].name')
  })

  test.each<[string, Partial<PlacedTensor>, string, string]>([
    ['a name twice', { name: 'columns' }, 'tensors[1].name', '"columns" is in the plan twice'],
    ['a shard that there is not', { shard: 2 }, 'tensors[0].shard', 'shard 2, but the plan has 2'],
    ['a reason that there is not', { reason: 2 }, 'tensors[0].reason', 'reason 2, but the plan has 2'],
    [
      'another size',
      { end: 100 },
      'tensors[0].end',
      'F32 [4, 6], which is 96 bytes, but its file range 8 to 100 has 92',
    ],
    ['bytes behind the shard', { begin: 1000, end: 1096 }, 'tensors[0].end', 'byte 1096'],
    ['a shape without a size', { shape: [2 ** 52, 2 ** 52] }, 'tensors[0].shape', 'overflows'],
    ['half a byte', { dtype: 'F4', shape: [3] }, 'tensors[0].shape', '12 bits'],
  ])('refuses a tensor with %s', (_, change, field, told) => {
    const error = thrownBy(() => checkBody(withTensor(change)))
    expect(error).toMatchObject({ code: 'PLAN_INVALID', field })
    expect(error.tensor).toBe(change.name ?? 'rows')
    expect(error.message).toContain(told)
  })

  test('checks the parts of every tensor', () => {
    const [first] = body.tensors[0]!.parts
    expect(thrownBy(() => checkBody(withTensor({ parts: [first!] }))).code).toBe('PLAN_INCOMPLETE')
  })

  test('takes tensors that were moved for another checkpoint', () => {
    const [rows, columns, norm] = body.tensors
    const swapped = [
      { ...rows!, begin: columns!.end - 96, end: columns!.end },
      { ...columns!, begin: rows!.begin, end: rows!.begin + 48 },
      norm!,
    ]
    const error = thrownBy(() => checkBody({ ...body, tensors: swapped }))
    expect(error).toMatchObject({ code: 'PLAN_INVALID', field: 'layout' })
    expect(error.details).toEqual({ layout: body.layout, actual: layoutOf(tensorIndex(body.shards, swapped)) })
    expect(layoutText({ ...body, tensors: swapped })).not.toBe(layoutText(body))
  })
})

describe('checkPlan()', () => {
  test('accepts what follows from the body', () => {
    expect(() => checkPlan(dataOf(body))).not.toThrow()
  })

  const { totals } = dataOf(body)
  const [host] = totals.hosts
  test.each([
    ['totals.byteLength', { byteLength: 157 }],
    ['totals.workers[1]', { workers: [84, 85] }],
    ['totals.workers.length', { workers: [84] }],
    ['totals.hosts.length', { hosts: [] }],
    ['totals.hosts[0].uniqueBytes', { hosts: [{ ...host!, uniqueBytes: 1 }] }],
    ['totals.hosts[0].arenaBytes', { hosts: [{ ...host!, arenaBytes: 1 }] }],
    ['totals.hosts[0].numaNodes.length', { hosts: [{ ...host!, numaNodes: [1, 2] }] }],
    ['totals.hosts[0].numaNodes[0]', { hosts: [{ ...host!, numaNodes: [1] }] }],
  ])('refuses other %s', (field, change) => {
    const error = thrownBy(() => checkPlan({ ...dataOf(body), totals: { ...totals, ...change } }))
    expect(error).toMatchObject({ code: 'PLAN_INVALID', field })
  })

  test('refuses limits that are not kept', () => {
    const hosts = [hostNamed('h0', { memoryBytes: 100 })]
    expect(thrownBy(() => checkPlan(dataOf({ ...body, hosts })))).toMatchObject({
      code: 'MEMORY_EXCEEDED',
      details: { missingBytes: 56 },
    })
  })
})
