import { describe, expect, test } from 'vitest'
import { checkMemory } from '../src/check-memory.ts'
import { totalsOf } from '../src/totals.ts'
import { hostNamed, smallBody, thrownBy } from './plans.ts'

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
