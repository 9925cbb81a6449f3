import { dtypeBits } from '@onecopy/safetensors'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PlanBody } from '../src/check-plan.ts'
import { type ComparedPlan, diffPlans } from '../src/diff.ts'
import { totalsOf } from '../src/totals.ts'
import { bodyArbitrary, bodyOf, elementsOf, hostNamed, smallBody, thrownBy, workerNamed } from './plans.ts'

function planOf(body: PlanBody, id = 'id'): ComparedPlan {
  return { id, data: { format: 'onecopy-plan', version: 1, ...body, totals: totalsOf(body) } }
}

/** The elements of each tensor that a host has. */
function elementsOn({ tensors, workers }: PlanBody, host: string): Map<string, Set<number>> {
  return new Map(
    tensors.map(({ name, shape, parts }) => {
      const here = parts.filter((part) => part.workers.some((worker) => workers[worker]!.host === host))
      return [name, new Set(here.flatMap(({ ranges }) => elementsOf(shape, ranges)))]
    }),
  )
}

/** Another plan for the same tensors: workers sit on other hosts, and hold what others held. */
const pairArbitrary = fc
  .tuple(bodyArbitrary, fc.array(fc.nat(9), { minLength: 8, maxLength: 8 }), fc.nat(7), fc.boolean())
  .map(([body, seats, turn, whole]): [PlanBody, PlanBody] => {
    const hosts = [hostNamed('host 1'), hostNamed('host 0'), hostNamed('new host')]
    const workers = body.workers.map((worker, place) => {
      return { ...worker, host: hosts[seats[place]! % hosts.length]!.name, numaNode: 0 }
    })
    const tensors = body.tensors.map((tensor) => {
      const parts = tensor.parts.map(({ ranges, workers: holders }) => {
        const turned = holders.map((worker) => (worker + turn) % body.workers.length)
        return { ranges, workers: turned.sort((a, b) => a - b) }
      })
      return { ...tensor, parts: whole ? [{ ranges: [], workers: [turn % body.workers.length] }] : parts }
    })
    return [body, { ...body, hosts, workers, tensors }]
  })

describe('diffPlans()', () => {
  test('moves nothing between a plan and itself', () => {
    fc.assert(
      fc.property(bodyArbitrary, (body) => {
        const plan = planOf(body)
        const unique = plan.data.totals.hosts.map(({ uniqueBytes }) => uniqueBytes)
        const diff = diffPlans(plan, plan)
        expect([diff.movedBytes, diff.freedBytes]).toEqual([0, 0])
        expect(diff.hosts.map(({ keptBytes }) => keptBytes)).toEqual(unique)
        expect(diff.hosts.every(({ tensors }) => tensors.length === 0)).toBe(true)
      }),
    )
  })

  test('agrees with a count element by element', () => {
    let moved = 0
    fc.assert(
      fc.property(pairArbitrary, ([previous, body]) => {
        const diff = diffPlans(planOf(previous, 'before'), planOf(body, 'after'))
        expect([diff.previousId, diff.id]).toEqual(['before', 'after'])
        const names = diff.hosts.map(({ host }) => host)
        expect(names).toEqual([...new Set([...body.hosts, ...previous.hosts].map(({ name }) => name))])
        for (const { host, movedBytes, freedBytes, keptBytes, tensors } of diff.hosts) {
          const [had, has] = [elementsOn(previous, host), elementsOn(body, host)]
          const sums = { moved: 0, freed: 0, kept: 0 }
          const changed: { name: string; movedBytes: number; freedBytes: number }[] = []
          for (const { name, dtype } of body.tensors) {
            const [before, after] = [had.get(name)!, has.get(name)!]
            const bytes = (elements: number) => (elements * dtypeBits(dtype)) / 8
            const kept = [...after].filter((element) => before.has(element)).length
            const row = { name, movedBytes: bytes(after.size - kept), freedBytes: bytes(before.size - kept) }
            sums.moved += row.movedBytes
            sums.freed += row.freedBytes
            sums.kept += bytes(kept)
            if (row.movedBytes + row.freedBytes > 0) changed.push(row)
          }
          expect({ movedBytes, freedBytes, keptBytes }).toEqual({
            movedBytes: sums.moved,
            freedBytes: sums.freed,
            keptBytes: sums.kept,
          })
          expect(new Set(tensors)).toEqual(new Set(changed))
          const sizes = tensors.map((row) => row.movedBytes + row.freedBytes)
          expect(sizes).toEqual([...sizes].sort((a, b) => b - a))
          moved += movedBytes
        }
        const unique = planOf(body).data.totals.hosts.reduce((sum, { uniqueBytes }) => sum + uniqueBytes, 0)
        expect(diff.movedBytes + diff.keptBytes).toBe(unique)
      }),
      { numRuns: 200 },
    )
    expect(moved).toBeGreaterThan(0)
  })

  test('counts bytes once for a host, and lists the largest first', () => {
    const on = (workers: readonly number[]) => [{ ranges: [], workers }]
    const hosts = [hostNamed('h0'), hostNamed('h1')]
    const workers = [workerNamed('a'), workerNamed('b', { tp: 1, host: 'h1' }), workerNamed('c', { tp: 2, host: 'h1' })]
    const rest = { hosts, workers, mesh: { pp: 1, tp: 3, ep: 1, replicas: 1 } }
    const kinds = [
      ['small', [2]],
      ['large', [20]],
      ['still', [5]],
      ['also small', [2]],
    ] as const
    const bodyFor = (holders: readonly (readonly number[])[]) => {
      const sketches = kinds.map(
        ([name, shape], at) => ({ name, dtype: 'U8', shape, parts: on(holders[at]!) }) as const,
      )
      return planOf(bodyOf(sketches, rest))
    }
    const diff = diffPlans(bodyFor([[0], [0], [0, 1], [0]]), bodyFor([[1, 2], [1, 2], [0, 2], [1]]))
    expect(diff).toMatchObject({ movedBytes: 24, freedBytes: 24, keptBytes: 10 })
    expect(diff.hosts[1]).toEqual({
      host: 'h1',
      movedBytes: 24,
      freedBytes: 0,
      keptBytes: 5,
      tensors: [
        { name: 'large', movedBytes: 20, freedBytes: 0 },
        { name: 'also small', movedBytes: 2, freedBytes: 0 },
        { name: 'small', movedBytes: 2, freedBytes: 0 },
      ],
    })
  })

  test('refuses plans for different checkpoints', () => {
    const other = bodyOf([{ name: 'x', dtype: 'U8', shape: [2], parts: [{ ranges: [], workers: [0] }] }])
    const error = thrownBy(() => diffPlans(planOf(other), planOf(smallBody())))
    expect(error).toMatchObject({
      code: 'PLAN_OTHER_CHECKPOINT',
      details: { layout: smallBody().layout, previousLayout: other.layout },
    })
  })
})
