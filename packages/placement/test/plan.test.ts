import { createHash } from 'node:crypto'
import { resolveSelected, tensorIndex, validateSelection } from '@onecopy/safetensors'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PlanBody } from '../src/check-plan.ts'
import { Plan } from '../src/plan.ts'
import type { Part } from '../src/plan-data.ts'
import {
  bodyArbitrary,
  bodyOf,
  elementsOf,
  hostNamed,
  smallBody,
  type TensorSketch,
  thrownBy,
  workerNamed,
} from './plans.ts'

/** JSON of a plan with something replaced. */
function edited(plan: Plan, from: string, to: string): string {
  const json = plan.toString()
  expect(json).toContain(from)
  return json.replace(from, to)
}

describe('Plan.of() and Plan.parse()', () => {
  test('a plan survives JSON', () => {
    fc.assert(
      fc.property(bodyArbitrary, fc.boolean(), (body, pretty) => {
        const plan = Plan.of(body)
        const again = Plan.parse(pretty ? JSON.stringify(plan, null, 2) : plan.toString())
        expect(again.data).toEqual(plan.data)
        expect(again.id).toBe(plan.id)
        expect(again.toString()).toBe(plan.toString())
        expect(again.toJSON()).toEqual({ format: 'onecopy-plan', version: 1, ...body, totals: plan.totals })
      }),
    )
  })

  test('the id is sha256 of the canonical text, and another for another plan', () => {
    const plan = Plan.of(smallBody())
    expect(plan.id).toBe(createHash('sha256').update(plan.toString()).digest('hex'))
    expect(Plan.of(smallBody()).id).toBe(plan.id)
    expect(Plan.of({ ...smallBody(), objective: 'sticky' }).id).not.toBe(plan.id)
    expect(Plan.parse(new TextEncoder().encode(plan.toString())).id).toBe(plan.id)
  })

  test('of() takes no totals on trust, nor fields that a plan does not have', () => {
    const body = { ...smallBody(), totals: 'none', extra: 1 } as PlanBody
    expect(Plan.of(body).toString()).toBe(Plan.of(smallBody()).toString())
    expect(Object.keys(Plan.of(body).data)).not.toContain('extra')
  })

  test('of() refuses what makes no sense', () => {
    const body = smallBody()
    const [w0, w1] = body.workers
    const onlyHalf = body.tensors.map((tensor) => ({ ...tensor, parts: tensor.parts.slice(0, 1) }))
    expect(thrownBy(() => Plan.of({ ...body, tensors: onlyHalf })).code).toBe('PLAN_INCOMPLETE')
    expect(thrownBy(() => Plan.of({ ...body, workers: [w0!, { ...w1!, memoryBytes: 83 }] }))).toMatchObject({
      code: 'MEMORY_EXCEEDED',
      worker: 'w1',
    })
  })

  test.each([
    ['PLAN_INVALID', '"objective":"balanced"', '"objective":"random"'],
    ['PLAN_OVERLAP', '"ranges":[[2,4]]', '"ranges":[[1,4]]'],
    ['PLAN_INCOMPLETE', '"ranges":[[2,4]]', '"ranges":[[3,4]]'],
    ['PLAN_INVALID', '"ranges":[[2,4]]', '"ranges":[[2,5]]'],
    ['PLAN_INVALID', '"begin":8,"end":104', '"begin":9,"end":105'],
    ['PLAN_INVALID', '"uniqueBytes":156', '"uniqueBytes":155'],
    ['PLAN_INVALID', '"numaNode":0', '"numaNode":1'],
    ['MEMORY_EXCEEDED', '"memoryBytes":null', '"memoryBytes":155'],
  ])('parse() refuses with %s: %s → %s', (code, from, to) => {
    expect(thrownBy(() => Plan.parse(edited(Plan.of(smallBody()), from, to))).code).toBe(code)
  })
})

describe('worker() and selection()', () => {
  test('hold what the parts say, and add up to the totals', () => {
    fc.assert(
      fc.property(bodyArbitrary, (body) => {
        const plan = Plan.of(body)
        const infos = new Map(body.tensors.map((tensor) => [tensor.name, tensor]))
        for (const [place, { name }] of plan.workers.entries()) {
          const share = plan.worker(name)
          expect(share).toMatchObject(body.workers[place]!)
          const bytes = share.tensors.reduce((sum, { byteLength }) => sum + byteLength, 0)
          expect([share.byteLength, plan.totals.workers[place]]).toEqual([bytes, bytes])
          const selection = plan.selection(name)
          expect(selection.layout).toBe(body.layout)
          validateSelection(selection, (tensor) => infos.get(tensor))
          expect(selection.tensors.map((tensor) => tensor.name)).toEqual(share.tensors.map((tensor) => tensor.name))
          let arenaBytes = 0
          for (const { name: tensor, ranges } of selection.tensors) {
            const { dtype, shape, parts } = infos.get(tensor)!
            const held = parts.filter((part) => part.workers.includes(place)).map((part) => part.ranges)
            const elements = held.flatMap((range) => elementsOf(shape, range)).sort((a, b) => a - b)
            expect(elementsOf(shape, ranges ?? [])).toEqual(elements)
            const { contiguous, byteLength } = resolveSelected(dtype, shape, ranges ?? [])
            if (!contiguous) arenaBytes += byteLength
          }
          expect(share.arenaBytes).toBe(arenaBytes)
        }
      }),
    )
  })

  test('name shard, bytes and boxes', () => {
    const { tensors, ...share } = Plan.of(smallBody()).worker('w1')
    expect(share).toEqual({ ...workerNamed('w1', { tp: 1 }), byteLength: 84, arenaBytes: 24 })
    const [rows, columns, norm] = tensors
    expect(rows).toMatchObject({ shape: [2, 6], whole: false, contiguous: true, begin: 56, end: 104 })
    expect(columns).toMatchObject({ shape: [4, 3], contiguous: false, begin: 110, end: 152, byteLength: 24 })
    expect(columns!.boxes).toEqual([{ offsets: [0, 3], lengths: [4, 3], targetOffsets: [0, 0] }])
    expect([...columns!.byteRanges()]).toEqual([
      [110, 116],
      [122, 128],
      [134, 140],
      [146, 152],
    ])
    expect(norm).toMatchObject({ whole: true, shard: 'model-1.safetensors', begin: 8, end: 20 })
    expect(Plan.of(smallBody()).selection('w1').tensors).toEqual([
      { name: 'rows', ranges: [[2, 4]] },
      {
        name: 'columns',
        ranges: [
          [0, 4],
          [3, 6],
        ],
      },
      { name: 'norm' },
    ])
  })

  test('offer the nearest names for a worker or host that there is not', () => {
    const plan = Plan.of(smallBody())
    for (const ask of [() => plan.worker('w2'), () => plan.selection('w2')]) {
      expect(thrownBy(ask)).toMatchObject({
        code: 'WORKER_UNKNOWN',
        worker: 'w2',
        candidates: ['w0', 'w1'],
        message: 'The plan has no worker "w2"; nearest: "w0", "w1"',
      })
    }
    for (const ask of [() => plan.host('h'), () => plan.holdings('h')]) {
      expect(thrownBy(ask)).toMatchObject({ code: 'HOST_UNKNOWN', host: 'h', candidates: ['h0'] })
    }
    expect(thrownBy(() => plan.worker('constructor')).code).toBe('WORKER_UNKNOWN')
  })
})

describe('host() and holdings()', () => {
  test('tell what the host has', () => {
    const plan = Plan.of(smallBody())
    expect(plan.host('h0')).toMatchObject({ uniqueBytes: 156, fileBytes: 108, arenaBytes: 48, workers: ['w0', 'w1'] })
    expect(plan.holdings('h0')).toHaveLength(5)
  })
})

describe('validate()', () => {
  test('accepts the index of the plan, and no other', () => {
    const body = smallBody()
    const plan = Plan.of(body)
    plan.validate()
    plan.validate(tensorIndex(body.shards, body.tensors))
    const fewer = tensorIndex(body.shards, body.tensors.slice(1))
    expect(thrownBy(() => plan.validate(fewer))).toMatchObject({ code: 'PLAN_OTHER_CHECKPOINT', tensor: 'rows' })
  })
})

describe('diff()', () => {
  test('has the ids of both plans', () => {
    const [plan, previous] = [Plan.of(smallBody()), Plan.of({ ...smallBody(), objective: 'sticky' })]
    expect(plan.diff(previous)).toMatchObject({ previousId: previous.id, id: plan.id, movedBytes: 0, keptBytes: 156 })
  })
})

describe('a plan of 90,000 tensors on 1,024 workers', () => {
  const [pp, ep, tp] = [4, 32, 8]
  const layers = 60
  const experts = 256
  const hosts = Array.from({ length: 128 }, (_, at) => hostNamed(`host-${at}`))
  const workers = Array.from({ length: pp * ep * tp }, (_, at) => {
    const [stage, expert, slice] = [Math.floor(at / (ep * tp)), Math.floor(at / tp) % ep, at % tp]
    return workerNamed(`worker-${at}`, { host: `host-${Math.floor(at / 8)}`, pp: stage, ep: expert, tp: slice })
  })
  const known = new Map<string, readonly Part[]>()
  const partsFor = (stage: number, expert: number, dimension: number): readonly Part[] => {
    const key = `${stage} ${expert} ${dimension}`
    let parts = known.get(key)
    if (parts === undefined) {
      const first = stage * ep * tp + Math.floor(expert / (experts / ep)) * tp
      parts = Array.from({ length: tp }, (_, slice): Part => {
        const range = [slice * 16, slice * 16 + 16] as const
        return { ranges: dimension === 0 ? [range] : [[0, 128], range], workers: [first + slice] }
      })
      known.set(key, parts)
    }
    return parts
  }
  const stages = Array.from({ length: pp }, (_, stage): readonly Part[] => {
    return [{ ranges: [], workers: Array.from({ length: ep * tp }, (_, at) => stage * ep * tp + at) }]
  })
  const sketches: TensorSketch[] = []
  for (let layer = 0; layer < layers; layer++) {
    const stage = Math.floor((layer * pp) / layers)
    sketches.push({ name: `layers.${layer}.norm`, dtype: 'F32', shape: [128], parts: stages[stage]! })
    for (let expert = 0; expert < experts; expert++) {
      for (const [at, name] of ['gate', 'up', 'down', 'gate_scale', 'up_scale', 'down_scale'].entries()) {
        const dtype = at < 3 ? 'F8_E4M3' : 'F32'
        const parts = partsFor(stage, expert, at % 3 === 2 ? 1 : 0)
        sketches.push({ name: `layers.${layer}.experts.${expert}.${name}`, dtype, shape: [128, 128], parts })
      }
    }
  }

  test('goes through JSON, and its figures add up', () => {
    const plan = Plan.of(bodyOf(sketches, { hosts, workers, mesh: { pp, ep, tp, replicas: 1 } }))
    expect(plan.data.tensors).toHaveLength(92_220)
    const again = Plan.parse(plan.toString())
    expect(again.id).toBe(plan.id)
    expect(again.totals).toEqual(plan.totals)
    const expertBytes = layers * experts * 3 * (128 * 128) * 5
    const normBytes = layers * 512
    const sum = (list: readonly number[]) => list.reduce((bytes, some) => bytes + some, 0)
    expect(plan.totals.byteLength).toBe(expertBytes + normBytes)
    expect(sum(plan.totals.workers)).toBe(expertBytes + normBytes * ep * tp)
    expect(sum(plan.totals.hosts.map(({ uniqueBytes }) => uniqueBytes))).toBe(expertBytes + normBytes * ep)
    expect(sum(plan.totals.hosts.map(({ arenaBytes }) => arenaBytes))).toBe(expertBytes / 3)
    const share = again.worker('worker-1023')
    expect(sum(share.tensors.map(({ byteLength }) => byteLength))).toBe(share.byteLength)
    expect(share.tensors).toHaveLength((layers / pp) * (1 + (experts / ep) * 6))
    expect(again.diff(plan)).toMatchObject({ movedBytes: 0, freedBytes: 0 })
    expect(again.explain()).toContain('92220 in 2 shards')
  })
})
