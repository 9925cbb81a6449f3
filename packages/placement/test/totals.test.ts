import { dtypeBits } from '@onecopy/safetensors'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PlanBody } from '../src/check-plan.ts'
import type { PlanTotals } from '../src/plan-data.ts'
import { alikeTensors, checkMemory, partSize, totalsOf } from '../src/totals.ts'
import { bodyArbitrary, bodyOf, elementsOf, hostNamed, smallBody, thrownBy, workerNamed } from './plans.ts'

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

describe('alikeTensors()', () => {
  test('counts tensors with the very same parts, dtype and shape together, and no others', () => {
    const parts = [{ ranges: [], workers: [0] }]
    const sketches = [
      { name: 'a', dtype: 'F32', shape: [2, 3], parts },
      { name: 'b', dtype: 'F32', shape: [2, 3], parts },
      { name: 'c', dtype: 'F32', shape: [3, 2], parts },
      { name: 'd', dtype: 'BF16', shape: [2, 3], parts },
      { name: 'e', dtype: 'F32', shape: [2, 3], parts: [...parts] },
    ] as const
    const alike = alikeTensors(bodyOf(sketches).tensors)
    expect(alike.map(({ tensor, count }) => [tensor.name, count])).toEqual([
      ['a', 2],
      ['c', 1],
      ['d', 1],
      ['e', 1],
    ])
  })
})

describe('partSize()', () => {
  test('tells what is one run from what is not', () => {
    expect(partSize('BF16', [4, 6], [[1, 3]])).toEqual({ byteLength: 24, inPlace: true })
    expect(
      partSize(
        'BF16',
        [4, 6],
        [
          [0, 4],
          [0, 3],
        ],
      ),
    ).toEqual({ byteLength: 24, inPlace: false })
    expect(
      partSize(
        'BF16',
        [4, 6],
        [
          [
            [0, 1],
            [2, 3],
          ],
        ],
      ),
    ).toEqual({ byteLength: 24, inPlace: false })
    expect(partSize('BF16', [4, 0], [[1, 3]])).toEqual({ byteLength: 0, inPlace: true })
  })

  test('does not lay out the boxes of many extents', () => {
    const extents = Array.from({ length: 3000 }, (_, at) => [at * 2, at * 2 + 1] as const)
    expect(partSize('U8', [6000, 6000, 6000], [extents, extents, extents])).toEqual({
      byteLength: 27e9,
      inPlace: false,
    })
  })

  test('refuses F4 elements that do not fill whole bytes', () => {
    expect(() => partSize('F4', [8], [[1, 3]])).toThrow(
      expect.objectContaining({ code: 'SAFETENSORS_MISALIGNED_SLICE' }),
    )
    const extents = [
      [0, 1],
      [2, 3],
    ] as const
    expect(() => partSize('F4', [8], [extents])).toThrow(
      expect.objectContaining({ code: 'SAFETENSORS_MISALIGNED_SLICE' }),
    )
  })
})

describe('checkMemory()', () => {
  test('accepts limits that are just reached', () => {
    const body = smallBody() // w0 and w1 have 48 + 24 + 12 bytes each, the host 96 + 48 + 12
    const workers = body.workers.map((worker) => ({ ...worker, memoryBytes: 84 }))
    const hosts = [hostNamed('h0', { memoryBytes: 156, numaNodes: [{ memoryBytes: 156 }] })]
    expect(() => checkMemory({ hosts, workers, totals: totalsOf(body) })).not.toThrow()
  })

  test('says how much the worst misses, and lists all that do not fit', () => {
    const body = smallBody()
    const workers = body.workers.map((worker, place) => ({ ...worker, memoryBytes: 84 - place * 4 }))
    const hosts = [hostNamed('h0', { memoryBytes: 150, numaNodes: [{ memoryBytes: 100 }] })]
    expect(thrownBy(() => checkMemory({ hosts, workers, totals: totalsOf(body) }))).toMatchObject({
      code: 'MEMORY_EXCEEDED',
      message:
        'NUMA node 0 of host "h0" needs 156 bytes, but has 100: 56 bytes are missing; 2 other limits are exceeded too',
      host: 'h0',
      worker: undefined,
      details: {
        neededBytes: 156,
        availableBytes: 100,
        missingBytes: 56,
        shortages: [
          { kind: 'numaNode', host: 'h0', numaNode: 0, missingBytes: 56 },
          { kind: 'host', host: 'h0', neededBytes: 156, availableBytes: 150, missingBytes: 6 },
          { kind: 'worker', worker: 'w1', host: 'h0', neededBytes: 84, availableBytes: 80, missingBytes: 4 },
        ],
      },
    })
  })

  test('names the worker or the host that is the only one short', () => {
    const body = smallBody()
    const totals = totalsOf(body)
    const [first, second] = body.workers
    const workers = [first!, { ...second!, memoryBytes: 0 }]
    expect(thrownBy(() => checkMemory({ ...body, workers, totals }))).toMatchObject({
      message: 'Worker "w1" needs 84 bytes, but has 0: 84 bytes are missing',
      worker: 'w1',
      host: 'h0',
    })
    const hosts = [hostNamed('h0', { memoryBytes: 155 })]
    expect(thrownBy(() => checkMemory({ ...body, hosts, totals })).message).toBe(
      'Host "h0" needs 156 bytes, but has 155: 1 byte is missing',
    )
  })
})
