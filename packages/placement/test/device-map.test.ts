import { describe, expect, test } from 'vitest'
import { fromDeviceMap, fromMaxMemory } from '../src/device-map.ts'
import { planPlacement } from '../src/plan-placement.ts'
import { readPolicy } from '../src/read-policy.ts'
import { readTopology } from '../src/read-topology.ts'
import { firstRule } from './first-rule.ts'
import { indexOf, type Listed } from './real-headers.ts'

describe('fromDeviceMap()', () => {
  test('the innermost module counts, and names are compared part by part', () => {
    const policy = fromDeviceMap({
      model: 0,
      'model.layers.1': 1,
      'model.layers.1.mlp': 'cpu',
      'model.layers.1.mlp.up_proj.weight': 0,
      lm_head: 1,
    })
    const workerOf = (name: string) => firstRule(policy, name)?.pin
    expect(workerOf('model.embed_tokens.weight')).toBe('0')
    expect(workerOf('model.layers.1.input_layernorm.weight')).toBe('1')
    expect(workerOf('model.layers.10.input_layernorm.weight')).toBe('0')
    expect(workerOf('model.layers.1.mlp.down_proj.weight')).toBe('cpu')
    expect(workerOf('model.layers.1.mlp.up_proj.weight')).toBe('0')
    expect(workerOf('lm_head.weight')).toBe('1')
    expect(workerOf('lm_head_extra.weight')).toBeUndefined()
    expect(policy.mesh).toEqual({ pp: 3 })
    expect(readPolicy(policy)).toEqual(policy)
  })

  test('"" is everything that nothing else is', () => {
    const policy = fromDeviceMap({ '': 'cuda:1', a: 0 }, { devices: { 'cuda:1': 'big', 0: 'small' } })
    expect(firstRule(policy, 'b.c')?.pin).toBe('big')
    expect(firstRule(policy, 'a.c')?.pin).toBe('small')
  })

  test('takes modules by their letters, whatever they mean in a glob', () => {
    const policy = fromDeviceMap({ 'a.*{b}\\?': 0 })
    expect(firstRule(policy, 'a.*{b}\\?.w')?.pin).toBe('0')
    expect(firstRule(policy, 'a.xb\\y.w')).toBeUndefined()
  })

  test('two devices of one worker are one place in the mesh, unless a mesh is given', () => {
    const devices = { 0: 'w', 1: 'w' }
    expect(fromDeviceMap({ a: 0, b: 1 }, { devices }).mesh).toEqual({ pp: 1 })
    expect(fromDeviceMap({ a: 0 }, { mesh: { replicas: 4 } }).mesh).toEqual({ replicas: 4 })
  })

  test('refuses an empty map, devices that are none, and a disk that nobody stands for', () => {
    const refused = (map: Record<string, unknown>, field: string, message: RegExp) => {
      const run = () => fromDeviceMap(map as Record<string, string>)
      expect(run).toThrow(expect.objectContaining({ code: 'POLICY_INVALID', field }))
      expect(run).toThrow(message)
    }
    refused({}, 'deviceMap', /is empty/)
    refused({ a: -1 }, 'deviceMap["a"]', /is -1: it must be the number or the name of a device/)
    refused({ a: '' }, 'deviceMap["a"]', /is ""/)
    refused({ a: null }, 'deviceMap["a"]', /is null/)
    refused({ a: 'disk' }, 'deviceMap["a"]', /"disk", which is no worker/)
    expect(firstRule(fromDeviceMap({ a: 'disk' }, { devices: { disk: 'w9' } }), 'a.w')?.pin).toBe('w9')
  })
})

describe('fromMaxMemory()', () => {
  test('has a worker for each device: numbers first, then mps and cpu, as accelerate sorts them', () => {
    const { topology, policy } = fromMaxMemory({ cpu: '30GiB', 10: '20GB', 2: 1000, mps: '1KiB' }, { host: 'h' })
    expect(topology).toEqual({
      hosts: [{ name: 'h' }],
      workers: [
        { name: '2', host: 'h', memoryBytes: 1000 },
        { name: '10', host: 'h', memoryBytes: 20e9 },
        { name: 'mps', host: 'h', memoryBytes: 1024 },
        { name: 'cpu', host: 'h', memoryBytes: 30 * 2 ** 30 },
      ],
    })
    expect(policy).toMatchObject({ mesh: { pp: 4 }, objective: 'sequential' })
    expect(readTopology(topology)).toEqual(topology)
    expect(readPolicy(policy)).toEqual(policy)
  })

  test('places everything wherever there is room, and keeps blocks together', () => {
    const { policy } = fromMaxMemory({ 0: 10 })
    expect(firstRule(policy, 'anything.at.all')).toEqual({ replicate: true, stage: 'auto' })
    const blocks = { rules: policy.together!.flat().map((match) => ({ match, replicate: true as const })) }
    for (const name of [
      'model.layers.3.w',
      'layers.3.w',
      'transformer.h.0.attn.w',
      'm.blocks.1.w',
      't5.encoder.block.2.w',
    ]) {
      expect([name, firstRule(blocks, name)]).toEqual([name, { replicate: true }])
    }
    for (const name of ['model.norm.weight', 'model.layers.weight', 'h0.w'])
      expect(firstRule(blocks, name)).toBeUndefined()
  })

  test('takes other groups and tied names', () => {
    const { policy } = fromMaxMemory({ 0: 10 }, { noSplit: ['a.{layer}.**', { regex: 'b' }], tied: [['x', 'y']] })
    expect(policy.together).toEqual([['a.{layer}.**'], [{ regex: 'b' }]])
    expect(policy.tied).toEqual([['x', 'y']])
    expect(readPolicy(policy)).toEqual(policy)
  })

  test('a device without memory is no worker', () => {
    const { topology, policy } = fromMaxMemory({ 0: 0, 1: '5GB' })
    expect(topology.workers.map(({ name }) => name)).toEqual(['1'])
    expect(policy.mesh).toEqual({ pp: 1 })
  })

  test('refuses what is no device or no size, a disk, and nothing at all', () => {
    const refused = (maxMemory: Record<string, unknown>, field: string, message: RegExp) => {
      const run = () => fromMaxMemory(maxMemory as Record<string, string>)
      expect(run).toThrow(expect.objectContaining({ code: 'TOPOLOGY_INVALID', field }))
      expect(run).toThrow(message)
    }
    refused(
      { 'cuda:0': 5 },
      'maxMemory["cuda:0"]',
      /"cuda:0" is no device of accelerate: it must be a number or one of "mps", "cpu"/,
    )
    refused({ '-1': 5 }, 'maxMemory["-1"]', /no device/)
    refused({ 0: '5' }, 'maxMemory["0"]', /is "5": it must be bytes, or a text such as "10GiB"/)
    refused({ 0: -5 }, 'maxMemory["0"]', /is -5/)
    refused({ 0: 5, disk: '1GB' }, 'maxMemory["disk"]', /held by nobody/)
    refused({}, 'maxMemory', /No device has any memory/)
    refused({ 0: 0 }, 'maxMemory', /No device has any memory/)
  })

  test('fills in the order of the modules, in a file that is sorted by name, and in that of the file where it says more', () => {
    const holders = (names: readonly string[], devices: number) => {
      const listed = names.map((name): Listed => [name, 'U8', [10]])
      const memory = Object.fromEntries(Array.from({ length: devices }, (_, device) => [device, 20]))
      const { topology, policy } = fromMaxMemory(memory)
      const plan = planPlacement(indexOf(listed), topology, policy)
      return plan.workers.map(({ name }) => plan.worker(name).tensors.map((tensor) => tensor.name))
    }
    const llama = ['lm_head.w', 'model.embed_tokens.w', 'model.layers.10.w', 'model.layers.2.w', 'model.norm.w']
    expect(holders(llama, 3)).toEqual([
      ['model.embed_tokens.w', 'model.layers.2.w'],
      ['model.layers.10.w', 'model.norm.w'].toSorted(),
      ['lm_head.w'],
    ])
    // The layers of encoder and decoder are different ones, though their numbers are the same.
    const t5 = ['decoder.block.0.w', 'encoder.block.0.w', 'encoder.norm.w', 'shared.w']
    expect(holders(t5, 2).map((names) => new Set(names))).toEqual([
      new Set(['shared.w', 'encoder.block.0.w']),
      new Set(['encoder.norm.w', 'decoder.block.0.w']),
    ])
    expect(holders(['z', 'b', 'a', 'c'], 2)).toEqual([
      ['z', 'b'],
      ['a', 'c'],
    ])
  })
})
