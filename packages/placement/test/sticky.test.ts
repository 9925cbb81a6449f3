import { describe, expect, test } from 'vitest'
import { movedBytes } from '../src/moved-bytes.ts'
import type { Plan } from '../src/plan.ts'
import { planPlacement } from '../src/plan-placement.ts'
import type { Policy } from '../src/policy.ts'
import type { Host, Topology } from '../src/topology.ts'
import { thrownBy } from './plans.ts'
import { topologyFor } from './random-models.ts'
import { indexOf, type Listed } from './real-headers.ts'

const mesh = { pp: 3, tp: 2, ep: 1, replicas: 1 }
const listed = Array.from({ length: 9 }, (_, layer): Listed => [`l.${layer}`, 'F32', [4, 4]])
const index = indexOf(listed)
const rules: Policy['rules'] = [{ match: 'l.{layer}', split: { dimension: 0, axis: 'tp' } }]
const bare = topologyFor(mesh, 2)

function plan(topology: Topology, policy: Partial<Policy> = {}): Plan {
  return planPlacement(index, topology, { mesh, rules, objective: 'sticky', ...policy })
}

function holding(holds: readonly Host['holds'][], rest: (host: number) => Partial<Host> = () => ({})): Topology {
  return {
    hosts: bare.hosts.map((host, at) => ({ ...host, ...(holds[at] && { holds: holds[at] }), ...rest(at) })),
    workers: bare.workers,
  }
}

const layers = (...numbers: readonly number[]) => numbers.map((number) => ({ name: `l.${number}` }))
const stageOf = ({ data }: Plan, name: string) => {
  const { parts } = data.tensors.find((tensor) => tensor.name === name)!
  return data.workers[parts[0]!.workers[0]!]!.pp
}

describe('the objective sticky', () => {
  test('is balanced where nothing is held', () => {
    const fresh = plan(bare, { objective: 'balanced' })
    const sticky = plan(bare)
    expect(sticky.data.tensors).toEqual(fresh.data.tensors)
    expect(sticky.data.workers).toEqual(fresh.data.workers)
    expect(sticky.data.reasons[0]).toContain('by balanced')
  })

  test('exchanges whole hosts where others have what they need, and keeps neighbours along tp together', () => {
    const fresh = plan(bare, { objective: 'balanced' })
    const topology = holding(['h2', 'h0', 'h1'].map((host) => fresh.holdings(host)))
    const sticky = plan(topology)
    expect(movedBytes(sticky.data, topology)).toBe(0)
    expect(sticky.data.workers.map(({ name, pp, tp }) => [name, pp, tp])).toEqual([
      ['w0', 2, 0],
      ['w1', 2, 1],
      ['w2', 0, 0],
      ['w3', 0, 1],
      ['w4', 1, 0],
      ['w5', 1, 1],
    ])
  })

  test('leaves layers on the stage that has them', () => {
    const topology = holding([layers(0, 1, 2, 3, 4), layers(5), layers(6, 7, 8)])
    const sticky = plan(topology)
    expect(movedBytes(sticky.data, topology)).toBe(0)
    expect(listed.map(([name]) => stageOf(sticky, name))).toEqual([0, 0, 0, 0, 0, 1, 2, 2, 2])
    expect(sticky.data.reasons[0]).toContain('layer → stage by sticky')
  })

  test('does both at once', () => {
    const topology = holding([layers(6, 7, 8), layers(0, 1, 2, 3), layers(4, 5)])
    const sticky = plan(topology)
    expect(movedBytes(sticky.data, topology)).toBe(0)
  })

  test('keeps memory limits, and then moves what it must', () => {
    const topology = holding([layers(0, 1, 2, 3, 4), layers(5), layers(6, 7, 8)], (host) => {
      return host === 0 ? { memoryBytes: 4 * 64 } : {}
    })
    const sticky = plan(topology)
    expect(sticky.data.totals.hosts[0]!.uniqueBytes).toBeLessThanOrEqual(4 * 64)
    const limited = { ...topology, workers: topology.workers.map((worker) => ({ ...worker, memoryBytes: 4 * 32 })) }
    const kept = plan(limited)
    expect(movedBytes(kept.data, limited)).toBe(64)
    expect(Math.max(...kept.data.totals.workers)).toBe(4 * 32)
  })

  test('says what is missing where there is room for nothing', () => {
    const topology = holding([layers(0)], () => ({ memoryBytes: 100 }))
    expect(thrownBy(() => plan(topology)).code).toBe('MEMORY_EXCEEDED')
  })

  test('keeps to explicit layers, but may exchange hosts', () => {
    const topology = holding([layers(6, 7, 8), layers(0, 1), layers(2, 3, 4, 5)])
    const stages: Policy['stages'] = {
      layers: [
        [0, 2],
        [2, 6],
        [6, 9],
      ],
    }
    const sticky = plan(topology, { stages })
    expect(movedBytes(sticky.data, topology)).toBe(0)
    expect(listed.map(([name]) => stageOf(sticky, name))).toEqual([0, 0, 1, 1, 1, 1, 2, 2, 2])
  })

  test('lets a host take the places only of one with as many workers', () => {
    const workers = bare.workers.map((worker, at) => ({ ...worker, host: at === 0 ? 'h0' : at < 4 ? 'h1' : 'h2' }))
    const topology = { ...holding([layers(6, 7, 8), [], []]), workers }
    for (const { name, host } of plan(topology).data.workers) {
      expect(host).toBe(workers.find((worker) => worker.name === name)!.host)
    }
    const [first] = plan(topology).data.workers
    expect([first!.pp, first!.tp]).toEqual([0, 0])
  })
})
