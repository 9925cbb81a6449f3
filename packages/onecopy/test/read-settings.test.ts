import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { oneHost, PRESETS } from '@onecopy/placement'
import { indexHeaders } from '@onecopy/safetensors'
import { beforeEach, describe, expect, test } from 'vitest'
import { policyOf, topologyOf } from '../src/commands/plan/read-settings.ts'
import { temporaryFolder } from './run-onecopy.ts'
import { LLAMA_CONFIG } from './small-checkpoints.ts'

let folder: string

beforeEach(() => {
  folder = temporaryFolder()
})

function write(name: string, content: unknown): string {
  const path = join(folder, name)
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content))
  return path
}

/** What is planned: nothing but names. */
function source(names: readonly string[], besides: string | null = join(folder, 'model.safetensors')) {
  const info = { dtype: 'U8', shape: [0], dataOffsets: [0, 0] } as const
  const header = { tensors: new Map(names.map((name) => [name, info])), metadata: null }
  return { label: 'x', index: indexHeaders([{ name: 's', byteLength: 8, dataOffset: 8, header }]), besides }
}

const LLAMA_NAMES = ['model.layers.0.self_attn.q_proj.weight', 'model.layers.0.mlp.gate_proj.weight']
const LLAMA = (): ReturnType<typeof source> => source(LLAMA_NAMES)
const RULES = [{ match: '**', replicate: true }]

describe('policyOf()', () => {
  test('takes the preset that the names show, and what config.json says', async () => {
    expect(await policyOf(LLAMA(), { tp: 2 })).toEqual({
      policy: PRESETS.llama({ tp: 2 }),
      origin: 'preset llama, without config.json, so that heads are not known (--config)',
      config: null,
    })
    const path = write('config.json', LLAMA_CONFIG)
    const { policy, origin } = await policyOf(LLAMA(), { tp: 2, objective: 'sticky' })
    expect(policy).toEqual({ ...PRESETS.llama({ tp: 2 }, LLAMA_CONFIG), objective: 'sticky' })
    expect(origin).toBe(`preset llama, with ${path}`)
    const mixtral = write('other.json', { ...LLAMA_CONFIG, model_type: 'mixtral' })
    expect((await policyOf(LLAMA(), { config: mixtral })).origin).toBe(`preset mixtral, with ${mixtral}`)
  })

  test('takes the configuration of the language model of one that also sees', async () => {
    write('config.json', { model_type: 'vision', num_attention_heads: 7, text_config: LLAMA_CONFIG })
    expect((await policyOf(LLAMA(), { tp: 2 })).policy).toEqual(PRESETS.llama({ tp: 2 }, LLAMA_CONFIG))
  })

  test('needs no configuration where there is only a description, but takes one that is named', async () => {
    write('config.json', LLAMA_CONFIG)
    const described = source(LLAMA_NAMES, null)
    expect((await policyOf(described, {})).policy).toEqual(PRESETS.llama({}))
    const named = await policyOf(described, { config: join(folder, 'config.json') })
    expect(named.policy).toEqual(PRESETS.llama({}, LLAMA_CONFIG))
  })

  test.each(['{', '[]', '"llama"', 'null'])('refuses a config.json of %s, which would be passed over', async (text) => {
    const path = write('config.json', text)
    const error = { code: 'FILE_INVALID', message: expect.stringContaining(path) }
    await expect(policyOf(LLAMA(), {})).rejects.toMatchObject(error)
  })

  test('takes a preset by its name, whatever the names of the tensors, and no name of Object.prototype', async () => {
    expect((await policyOf(source(['x']), { policy: 'deepseek', ep: 4 })).policy).toEqual(PRESETS.deepseek({ ep: 4 }))
    for (const policy of ['toString', '__proto__', 'constructor']) {
      await expect(policyOf(LLAMA(), { policy })).rejects.toMatchObject({ code: 'FILE_INVALID' })
    }
    await expect(policyOf(source(['x']), {})).rejects.toMatchObject({ code: 'POLICY_MISSING', exitCode: 1 })
  })

  test('lays the command line over a file before the file is checked', async () => {
    // Stages that are right only with the mesh of the command line.
    const stages = { layers: [[0, 1] as const, [1, 9] as const] }
    const rules = [{ match: 'first.*', replicate: true, stage: 1 }, ...RULES]
    const path = write('policy.json', { mesh: { tp: 2 }, rules, stages })
    expect(await policyOf(LLAMA(), { policy: path, pp: 2, objective: 'min-peak' })).toEqual({
      policy: { mesh: { tp: 2, pp: 2 }, rules, stages, objective: 'min-peak' },
      origin: path,
      config: null,
    })
    await expect(policyOf(LLAMA(), { policy: path })).rejects.toMatchObject({ code: 'POLICY_INVALID' })
    const bare = write('bare.json', { rules: RULES })
    expect((await policyOf(LLAMA(), { policy: bare })).policy).toEqual({ mesh: {}, rules: RULES })
  })

  test.each<[unknown, string | undefined]>([
    [[], undefined],
    [null, undefined],
    [7, undefined],
    [{ rules: RULES, mesh: 'tp' }, 'mesh'],
    [{ rules: RULES, mesh: [2] }, 'mesh'],
    [{ rules: RULES, mesh: { tpp: 2 } }, 'mesh.tpp'],
    [{ rules: [] }, 'rules'],
    [{}, 'rules'],
  ])('refuses the policy %j also with a mesh from the command line', async (policy, field) => {
    const path = write('policy.json', policy)
    await expect(policyOf(LLAMA(), { policy: path, tp: 2 })).rejects.toMatchObject({ code: 'POLICY_INVALID', field })
  })
})

describe('topologyOf()', () => {
  test('gives one host with a worker for each place, or what the file says', async () => {
    const mesh = { pp: 2, tp: 3, replicas: 2 }
    expect(await topologyOf({ mesh, rules: [] }, {})).toEqual(oneHost(12))
    expect(await topologyOf({ rules: [] }, {})).toEqual(oneHost(1))
    const topology = { hosts: [{ name: 'h' }], workers: [{ name: 'w', host: 'h', memoryBytes: 9 }] }
    expect(await topologyOf({ mesh, rules: [] }, { hosts: write('hosts.json', topology) })).toEqual(topology)
    const broken = write('broken.json', { hosts: [{ name: 'h', memorybytes: 9 }], workers: [] })
    const error = { code: 'TOPOLOGY_INVALID', field: 'hosts[0].memorybytes', candidates: ['memoryBytes'] }
    await expect(topologyOf({ rules: [] }, { hosts: broken })).rejects.toMatchObject(error)
  })
})
