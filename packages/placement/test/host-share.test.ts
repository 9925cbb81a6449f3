import { resolveSelected } from '@onecopy/safetensors'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { holdingsOf, hostShare, selectedTensor } from '../src/host-share.ts'
import type { PlanData } from '../src/plan-data.ts'
import { totalsOf } from '../src/totals.ts'
import { bodyArbitrary, bodyOf, hostNamed, smallBody, workerNamed } from './plans.ts'

describe('hostShare()', () => {
  test('tells limits, bytes and workers', () => {
    const hosts = [hostNamed('h0', { memoryBytes: 1000, numaNodes: [{ memoryBytes: 500 }, { memoryBytes: null }] })]
    const workers = [workerNamed('w0'), workerNamed('w1', { tp: 1, numaNode: 1 })]
    const body = { ...smallBody(), hosts, workers }
    expect(hostShare({ format: 'onecopy-plan', version: 1, ...body, totals: totalsOf(body) }, 0)).toEqual({
      name: 'h0',
      memoryBytes: 1000,
      uniqueBytes: 156,
      fileBytes: 108,
      arenaBytes: 48,
      numaNodes: [
        { memoryBytes: 500, uniqueBytes: 84 },
        { memoryBytes: null, uniqueBytes: 84 },
      ],
      workers: ['w0', 'w1'],
    })
  })
})

describe('holdingsOf()', () => {
  test('makes up the unique bytes of the host', () => {
    fc.assert(
      fc.property(bodyArbitrary, (body) => {
        const data: PlanData = { format: 'onecopy-plan', version: 1, ...body, totals: totalsOf(body) }
        const infos = new Map(body.tensors.map((tensor) => [tensor.name, tensor]))
        for (const [host, { uniqueBytes }] of data.totals.hosts.entries()) {
          const bytes = holdingsOf(data, host).map(({ name, ranges = [] }) => {
            const { dtype, shape } = infos.get(name)!
            return resolveSelected(dtype, shape, ranges).byteLength
          })
          expect(bytes.reduce((sum, some) => sum + some, 0)).toBe(uniqueBytes)
        }
      }),
    )
  })

  test('gives each part once, whole tensors without ranges, in plan order', () => {
    const hosts = [hostNamed('h0'), hostNamed('h1')]
    const workers = [workerNamed('a'), workerNamed('b', { ep: 1 }), workerNamed('c', { host: 'h1', ep: 2 })]
    const body = bodyOf(
      [
        {
          name: 'cut',
          dtype: 'U8',
          shape: [6],
          parts: [
            { ranges: [[0, 2]], workers: [0, 1] },
            { ranges: [[2, 4]], workers: [2] },
            { ranges: [[4, 6]], workers: [1] },
          ],
        },
        { name: 'far', dtype: 'U8', shape: [2], parts: [{ ranges: [], workers: [2] }] },
        { name: 'all', dtype: 'U8', shape: [2], parts: [{ ranges: [[0, 2]], workers: [0, 1, 2] }] },
      ],
      { hosts, workers, mesh: { pp: 1, ep: 3, tp: 1, replicas: 1 } },
    )
    const data: PlanData = { format: 'onecopy-plan', version: 1, ...body, totals: totalsOf(body) }
    expect(holdingsOf(data, 0)).toEqual([
      { name: 'cut', ranges: [[0, 2]] },
      { name: 'cut', ranges: [[4, 6]] },
      { name: 'all' },
    ])
    expect(holdingsOf(data, 1)).toEqual([{ name: 'cut', ranges: [[2, 4]] }, { name: 'far' }, { name: 'all' }])
  })
})

describe('selectedTensor()', () => {
  test('keeps ranges only where something is left out', () => {
    expect(selectedTensor('t', [2, 3], [[0, 2]])).toEqual({ name: 't' })
    expect(selectedTensor('t', [2, 3], [[0, 1]])).toEqual({ name: 't', ranges: [[0, 1]] })
  })
})
