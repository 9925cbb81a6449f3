import { dtypeBits, resolveSelected } from '@onecopy/safetensors'
import { describe, expect, test } from 'vitest'
import { movedBytes } from '../src/moved-bytes.ts'
import type { Plan } from '../src/plan.ts'
import { planPlacement } from '../src/plan-placement.ts'
import { PRESETS } from '../src/presets.ts'
import { topologyFor } from './random-models.ts'
import { deepseekV3, indexOf, type Listed, llama3With70B, mixtral8x7B } from './real-headers.ts'

const bytesOf = ([, dtype, shape]: Listed) =>
  (shape.reduce((product, size) => product * size, 1) * dtypeBits(dtype)) / 8

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

/** Bytes of the tensors whose names match. */
function bytesLike(listed: readonly Listed[], pattern: RegExp): number {
  return sum(listed.filter(([name]) => pattern.test(name)).map(bytesOf))
}

/** Counts the plan's bytes once more, part by part, by way of the slices that would be read. */
function countAgain({ data }: Plan): { workers: number[]; hosts: number[]; byteLength: number } {
  const workers = data.workers.map(() => 0)
  const hosts = new Map(data.hosts.map(({ name }) => [name, 0]))
  let byteLength = 0
  const sizes = new Map<unknown, number>()
  for (const { dtype, shape, parts } of data.tensors) {
    for (const part of parts) {
      const bytes = sizes.get(part) ?? resolveSelected(dtype, shape, part.ranges).byteLength
      sizes.set(part, bytes)
      byteLength += bytes
      for (const worker of part.workers) workers[worker]! += bytes
      const names = new Set(part.workers.map((worker) => data.workers[worker]!.host))
      for (const name of names) hosts.set(name, hosts.get(name)! + bytes)
    }
  }
  return { workers, hosts: [...hosts.values()], byteLength }
}

function expectConsistent(plan: Plan): void {
  const { totals } = plan.data
  const again = countAgain(plan)
  expect(totals.byteLength).toBe(again.byteLength)
  expect(totals.workers).toEqual(again.workers)
  expect(totals.hosts.map(({ uniqueBytes }) => uniqueBytes)).toEqual(again.hosts)
}

describe('planPlacement() for real models', () => {
  test('Llama-3-70B, TP 8 × PP 2: two hosts, every matrix once', () => {
    const listed = llama3With70B()
    const mesh = { pp: 2, tp: 8, ep: 1, replicas: 1 }
    const config = { hidden_size: 8192, num_attention_heads: 64, vocab_size: 128256 }
    const plan = planPlacement(indexOf(listed), topologyFor(mesh, 8), PRESETS.llama(mesh, config))
    const { totals, tensors } = plan.data
    expect(listed).toHaveLength(723)
    expect(totals.byteLength).toBe(141_107_412_992) // total_size of the published shard index
    expectConsistent(plan)

    const layer = bytesLike(listed, /layers\.7\./)
    const norms = bytesLike(listed, /layers\.7\..*norm/)
    const embedding = bytesLike(listed, /embed_tokens/)
    const norm = bytesLike(listed, /^model\.norm/)
    const ofLayers = 40 * ((layer - norms) / 8 + norms)
    expect(totals.workers.slice(0, 8)).toEqual(Array.from({ length: 8 }, () => ofLayers + embedding / 8))
    expect(totals.workers.slice(8)).toEqual(Array.from({ length: 8 }, () => ofLayers + embedding / 8 + norm))
    expect(sum(totals.hosts.map(({ uniqueBytes }) => uniqueBytes))).toBe(totals.byteLength)
    const inner = bytesLike(listed, /(o|down)_proj/)
    expect(sum(totals.hosts.map(({ arenaBytes }) => arenaBytes))).toBe(inner)
    const keys = tensors.find(({ name }) => name === 'model.layers.79.self_attn.k_proj.weight')!
    expect(keys.parts[3]).toEqual({ ranges: [[384, 512]], workers: [11] })
  })

  test('Mixtral-8x7B, EP 8: each worker has an expert, all else is held once on the host', () => {
    const listed = mixtral8x7B()
    const mesh = { pp: 1, tp: 1, ep: 8, replicas: 1 }
    const plan = planPlacement(indexOf(listed), topologyFor(mesh, 8), PRESETS.mixtral(mesh))
    const { totals, tensors } = plan.data
    expect(listed).toHaveLength(995)
    expect(totals.byteLength).toBe(93_405_585_408) // total_size of the published shard index
    expectConsistent(plan)

    const experts = bytesLike(listed, /experts/)
    const rest = totals.byteLength - experts
    expect(totals.workers).toEqual(Array.from({ length: 8 }, () => experts / 8 + rest))
    expect(totals.hosts).toEqual([{ uniqueBytes: totals.byteLength, arenaBytes: 0, numaNodes: [totals.byteLength] }])
    for (const { name, parts } of tensors) {
      const expert = /experts\.(\d)/.exec(name)?.[1]
      const workers = expert === undefined ? [0, 1, 2, 3, 4, 5, 6, 7] : [Number(expert)]
      expect(parts).toEqual([{ ranges: [], workers }])
    }
  })

  test('DeepSeek-V3, TP 8 × EP 32 × PP 4: 1,024 workers on 128 hosts', () => {
    const listed = deepseekV3()
    const mesh = { pp: 4, tp: 8, ep: 32, replicas: 1 }
    const config = { num_attention_heads: 128, qk_nope_head_dim: 128, qk_rope_head_dim: 64, v_head_dim: 128 }
    const topology = topologyFor(mesh, 8)
    const policy = PRESETS.deepseek(mesh, { ...config, vocab_size: 129280 })
    const index = indexOf(listed)
    const plan = planPlacement(index, topology, policy)
    const { totals, tensors, workers } = plan.data
    expect(listed).toHaveLength(91_991)
    expect(listed.filter(([name]) => !name.startsWith('model.layers.61.'))).toHaveLength(90_427)
    expect(totals.byteLength).toBe(sum(listed.map(bytesOf)))
    expectConsistent(plan)

    // A host is one position along pp and ep: its experts are nobody else's, all else is on the 32 hosts of the stage.
    const experts = bytesLike(listed, /\.experts\./)
    const unique = sum(totals.hosts.map(({ uniqueBytes }) => uniqueBytes))
    expect(unique).toBe(experts + 32 * (totals.byteLength - experts))

    const places = new Set(tensors.map(({ parts }) => parts))
    expect(places.size).toBeLessThan(2000)
    for (const { name, parts } of tensors) {
      const expert = /\.experts\.(\d+)\./.exec(name)?.[1]
      if (expert === undefined) continue
      const holders = parts.flatMap((part) => part.workers)
      expect(holders).toHaveLength(8)
      expect(workers[holders[0]!]!.ep).toBe(Math.floor(Number(expert) / 8))
    }
    const named = (name: string) => tensors.find((tensor) => tensor.name === `model.layers.${name}`)!
    const weight = named('5.mlp.experts.17.down_proj.weight')
    const scale = named('5.mlp.experts.17.down_proj.weight_scale_inv')
    expect(weight.shape).toEqual([7168, 2048])
    expect(weight.parts[3]!.ranges).toEqual([
      [0, 7168],
      [768, 1024],
    ])
    expect(scale.shape).toEqual([56, 16])
    expect(scale.parts[3]!.ranges).toEqual([
      [0, 56],
      [6, 8],
    ])
    expect(scale.parts.map((part) => part.workers)).toEqual(weight.parts.map((part) => part.workers))
    expect(named('5.self_attn.kv_a_proj_with_mqa.weight_scale_inv').parts).toHaveLength(1)

    // Where another host has what a host needs, sticky lets it take the other's places, and nothing moves.
    const last = topology.hosts.length - 1
    const holds = [plan.holdings(topology.hosts[last]!.name), plan.holdings('h0')]
    const hosts = topology.hosts.map((host, at) => {
      if (at === 0) return { ...host, holds: holds[0]! }
      return at === last ? { ...host, holds: holds[1]! } : host
    })
    const now = { ...topology, hosts }
    const sticky = planPlacement(index, now, { ...policy, objective: 'sticky' })
    const saved = totals.hosts[0]!.uniqueBytes + totals.hosts[last]!.uniqueBytes
    expect(movedBytes(sticky.data, now)).toBeLessThanOrEqual(unique - saved)
    expect(movedBytes(plan.data, now)).toBeGreaterThan(unique - saved)
  })
})
