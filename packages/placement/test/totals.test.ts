import { dtypeBits } from '@onecopy/safetensors'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PlanBody } from '../src/check-plan.ts'
import type { PlanTotals } from '../src/plan-data.ts'
import { totalsOf } from '../src/totals.ts'
import { bodyArbitrary, bodyOf, elementsOf, hostNamed, workerNamed } from './plans.ts'

/** Totals counted element by element. */
function countedTotals({ hosts, workers, tensors }: PlanBody): PlanTotals {
  const bits = { all: 0, workers: workers.map(() => 0), hosts: hosts.map(() => ({ unique: 0, arena: 0 })) }
  const nodes = hosts.map(({ numaNodes }) => numaNodes.map(() => 0))
  for (const { dtype, shape, parts } of tensors) {
    const size = dtypeBits(dtype)
    bits.all += elementsOf(shape, []).length * size
    const inPlace = parts.map(({ ranges }) => elementsOf(shape, ranges).every((e, at, list) => e === list[0]! + at))
    for (const element of elementsOf(shape, [])) {
      for (const [place, part] of parts.entries()) {
        if (!elementsOf(shape, part.ranges).includes(element)) continue
        for (const worker of part.workers) bits.workers[worker]! += size
        for (const [host, { name }] of hosts.entries()) {
          const here = part.workers.filter((worker) => workers[worker]!.host === name)
          if (here.length > 0) bits.hosts[host]!.unique += size
          if (here.length > 0 && !inPlace[place]) bits.hosts[host]!.arena += size
          for (const node of new Set(here.map((worker) => workers[worker]!.numaNode))) nodes[host]![node]! += size
        }
      }
    }
  }
  return {
    byteLength: bits.all / 8,
    workers: bits.workers.map((count) => count / 8),
    hosts: bits.hosts.map(({ unique, arena }, host) => {
      return { uniqueBytes: unique / 8, arenaBytes: arena / 8, numaNodes: nodes[host]!.map((count) => count / 8) }
    }),
  }
}

describe('totalsOf()', () => {
  test('agrees with a count element by element', () => {
    let arenas = 0
    fc.assert(
      fc.property(bodyArbitrary, (body) => {
        const totals = totalsOf(body)
        expect(totals).toEqual(countedTotals(body))
        arenas += totals.hosts.reduce((bytes, host) => bytes + host.arenaBytes, 0)
      }),
    )
    expect(arenas).toBeGreaterThan(0)
  })

  test('counts a part once for a host and once for each of its NUMA nodes', () => {
    const hosts = [hostNamed('h0', { numaNodes: [{ memoryBytes: null }, { memoryBytes: null }] }), hostNamed('h1')]
    const workers = [
      workerNamed('a', { tp: 0 }),
      workerNamed('b', { tp: 1, numaNode: 1 }),
      workerNamed('c', { ep: 1, tp: 0, numaNode: 1 }),
      workerNamed('d', { ep: 1, tp: 1, host: 'h1' }),
    ]
    const parts = [
      { ranges: [[0, 2]], workers: [0, 1, 2] },
      { ranges: [[2, 4]], workers: [2, 3] },
    ] as const
    const mesh = { pp: 1, ep: 2, tp: 2, replicas: 1 }
    expect(totalsOf(bodyOf([{ name: 't', dtype: 'F32', shape: [4], parts }], { hosts, workers, mesh }))).toEqual({
      byteLength: 16,
      workers: [8, 8, 16, 8],
      hosts: [
        { uniqueBytes: 16, arenaBytes: 0, numaNodes: [8, 16] },
        { uniqueBytes: 8, arenaBytes: 0, numaNodes: [8] },
      ],
    })
  })
})
