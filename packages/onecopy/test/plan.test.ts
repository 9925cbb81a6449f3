import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openCheckpoint } from '@onecopy/checkpoint'
import { oneHost, Plan, type Policy, PRESETS, planPlacement } from '@onecopy/placement'
import { beforeEach, describe, expect, test } from 'vitest'
import { onecopy, temporaryFolder } from './run-onecopy.ts'
import { LLAMA_CONFIG, saveLlama, saveTwoShards, writeNames } from './small-checkpoints.ts'

let folder: string
let model: string

beforeEach(async () => {
  folder = temporaryFolder()
  model = await saveLlama(join(folder, 'model'))
  writeFileSync(join(model, 'config.json'), JSON.stringify(LLAMA_CONFIG))
})

function write(name: string, content: unknown): string {
  const path = join(folder, name)
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content))
  return path
}

/** The plan that the command prints as JSON. */
async function planned(...args: readonly string[]): Promise<Plan> {
  const { code, stdout, stderr } = await onecopy('plan', ...args, '--json')
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return Plan.parse(stdout)
}

/** The plan that the library makes. */
async function expected(policy: Policy, topology = oneHost(4)): Promise<Plan> {
  using checkpoint = await openCheckpoint(model)
  return planPlacement(checkpoint, topology, policy)
}

/** The one line on stderr. */
async function refused(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await onecopy('plan', ...args)
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(stderr).toMatch(/^onecopy: [^\n]+ \([A-Z_]+\)\n$/)
  return stderr.slice('onecopy: '.length, -1)
}

const RULES = [
  { match: '**.{q,k,v,gate,up}_proj.weight', split: { dimension: 0, axis: 'tp', unit: 4 } },
  { match: '**.{o,down}_proj.weight', split: { dimension: 1, axis: 'tp' } },
  { match: '**', replicate: true },
] as const

describe('plan', () => {
  test('shows plan, policy, hosts and workers as tables', async () => {
    const { code, stdout, stderr } = await onecopy('plan', model, '--tp', '2', '--pp', '2')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const lines = stdout.split('\n')
    expect(lines[0]).toBe(join(model, 'model.safetensors.index.json'))
    const plan = await expected(PRESETS.llama({ tp: 2, pp: 2 }, LLAMA_CONFIG))
    expect(stdout).toMatch(new RegExp(`^plan +${plan.id.slice(0, 16)}$`, 'm'))
    expect(stdout).toMatch(new RegExp(`^policy +preset llama, with ${join(model, 'config.json')}$`, 'm'))
    expect(stdout).toMatch(/^checkpoint +39 tensors, 22\.3 KiB \(22,816 bytes\)$/m)
    expect(stdout).toMatch(/^mesh +pp 2 × tp 2 × ep 1 × replicas 1 on 4 workers of 1 host$/m)
    expect(stdout).toMatch(/^objective +balanced$/m)
    expect(stdout).toMatch(/^localhost +4 +16\.3 KiB +6\.00 KiB +22\.3 KiB +–$/m)
    const workers = lines.filter((line) => /^w\d /.test(line)).map((line) => line.split(/ {2,}/))
    expect(workers.map(([name, host, ...place]) => [name, host, ...place.slice(0, 4).map(Number)])).toEqual([
      ['w0', 'localhost', 0, 0, 0, 0],
      ['w1', 'localhost', 0, 0, 0, 1],
      ['w2', 'localhost', 0, 1, 0, 0],
      ['w3', 'localhost', 0, 1, 0, 1],
    ])
    expect(lines.every((line) => line === line.trimEnd())).toBe(true)
  })

  test('--json prints the plan that planPlacement makes, for every axis of the mesh', async () => {
    const mesh = { tp: 2, pp: 2, ep: 1, replicas: 2 }
    const plan = await planned(model, '--tp', '2', '--pp', '2', '--ep', '1', '--replicas', '2')
    expect(plan.id).toBe((await expected(PRESETS.llama(mesh, LLAMA_CONFIG), oneHost(8))).id)
    expect(plan.mesh).toEqual(mesh)
  })

  test('gives the same plan for what inspect --json printed, without the checkpoint', async () => {
    const { stdout } = await onecopy('inspect', model, '--json')
    const description = write('described.json', stdout)
    const here = await planned(model, '--tp', '4')
    expect((await planned(description, '--tp', '4', '--config', join(model, 'config.json'))).id).toBe(here.id)
    expect(await refused(description, '--tp', '4')).toMatch(
      /it is not known which positions stay together, .* or --config \(POLICY_INVALID\)$/,
    )
    expect((await onecopy('plan', description)).stdout.split('\n')[0]).toBe(description)
  })

  test('cuts no attention where nothing says how large heads are', async () => {
    rmSync(join(model, 'config.json'))
    expect(await refused(model, '--tp', '2')).toMatch(/cuts dimension 0 of tensor .* or --config \(POLICY_INVALID\)$/)
    expect((await onecopy('plan', model, '--pp', '2')).stdout).toMatch(/preset llama, without config\.json/)
  })

  test('says workers that stay empty and rules that match nothing, beside the JSON too', async () => {
    const rules = [
      { match: 'layers.{layer}.**', replicate: true },
      { match: '**', replicate: true, stage: 'first' },
    ]
    const policy = write('wrong.json', { rules })
    const said = ['No tensor matches rules[0] "layers.{layer}.**"', '1 of 2 workers stay empty: "w1"']
    const args = ['plan', model, '--pp', '2', '--policy', policy]
    const [table, why, json] = await Promise.all([
      onecopy(...args),
      onecopy(...args, '--explain'),
      onecopy(...args, '--json'),
    ])
    for (const notice of said) {
      expect(table.stdout).toMatch(new RegExp(`^notice +${notice.replace(/[[\]{}*.]/g, '\\$&')}$`, 'm'))
      expect(why.stdout).toContain(`\n  ${notice}\n`)
      expect(json.stderr).toContain(`onecopy: ${notice}\n`)
    }
    expect(Plan.parse(json.stdout).workers).toHaveLength(2)
    const { stdout } = await onecopy('plan', model, '--pp', '6')
    expect(stdout).toContain('There are 4 layers for 6 stages')
  })

  test('keeps heads whole where config.json lies beside the checkpoint', async () => {
    const plan = await planned(model, '--tp', '4')
    expect(plan.id).toBe((await expected(PRESETS.llama({ tp: 4 }, LLAMA_CONFIG))).id)
    // Four workers share two heads of keys: neighbours hold the same one.
    const keys = plan.data.tensors.find(({ name }) => name === 'model.layers.0.self_attn.k_proj.weight')
    expect(keys?.parts.map(({ workers }) => workers)).toEqual([
      [0, 1],
      [2, 3],
    ])
    const { stdout } = await onecopy('plan', model, '--tp', '4')
    expect(stdout).toMatch(new RegExp(`^policy +preset llama, with ${join(model, 'config.json')}$`, 'm'))
    expect(await refused(model, '--tp', '3')).toMatch(/4 attention heads: tp must divide them \(POLICY_INVALID\)$/)
  })

  test('--policy takes a preset by name, or rules from a file, over which the command line goes', async () => {
    expect((await planned(model, '--policy', 'qwen', '--tp', '2')).id).toBe(
      (await expected(PRESETS.qwen({ tp: 2 }, LLAMA_CONFIG), oneHost(2))).id,
    )
    const policy = { mesh: { tp: 4, pp: 1 }, rules: RULES, objective: 'balanced' as const }
    const path = write('policy.json', policy)
    expect((await planned(model, '--policy', path)).id).toBe((await expected(policy)).id)
    const overlaid = { ...policy, mesh: { tp: 2, pp: 1 }, objective: 'min-peak' as const }
    const plan = await planned(model, '--policy', path, '--tp', '2', '--objective', 'min-peak')
    expect(plan.id).toBe((await expected(overlaid, oneHost(2))).id)
    expect((await onecopy('plan', model, '--policy', path)).stdout).toContain(path)
  })

  test('--hosts takes hosts and workers from a file', async () => {
    const topology = {
      hosts: [{ name: 'left', memoryBytes: 20_000, numaNodes: [{}, {}] }, { name: 'right' }],
      workers: [0, 1, 2, 3].map((at) => ({ name: `gpu-${at}`, host: at < 2 ? 'left' : 'right' })),
    }
    const hosts = write('hosts.json', topology)
    const plan = await planned(model, '--pp', '2', '--tp', '2', '--hosts', hosts)
    expect(plan.id).toBe((await expected(PRESETS.llama({ pp: 2, tp: 2 }, LLAMA_CONFIG), topology)).id)
    const { stdout } = await onecopy('plan', model, '--pp', '2', '--tp', '2', '--hosts', hosts)
    expect(stdout).toMatch(/ on 4 workers of 2 hosts$/m)
    expect(stdout).toMatch(/^host .*by NUMA node +limit$/m)
    expect(stdout).toMatch(/^left +2 .* \+ .*19\.5 KiB$/m)
    expect(stdout).toMatch(/^gpu-3 +right /m)
  })

  test('--explain says why instead of the tables, and with a glob where tensors go', async () => {
    const why = await onecopy('plan', model, '--tp', '2', '--explain')
    expect(why).toMatchObject({ code: 0, stderr: '' })
    const plan = await expected(PRESETS.llama({ tp: 2 }, LLAMA_CONFIG), oneHost(2))
    expect(why.stdout.endsWith(plan.explain())).toBe(true)
    expect(why.stdout).not.toContain('model.layers.0.mlp.down_proj')
    const where = await onecopy('plan', model, '--tp', '2', '--explain', '**.layers.{0,1}.**.down_*.*')
    const listed = [...where.stdout.matchAll(/^"([^"]+)" BF16/gm)].map(([, name]) => name)
    expect(listed).toEqual([0, 1].map((layer) => `model.layers.${layer}.mlp.down_proj.weight`))
    expect(where.stdout).toContain('\n  [:, 16:32] 512 B arena: "w1"\n')
    const none = await onecopy('plan', model, '--tp', '2', '--explain', '*.mlp.*')
    expect(none.stdout).toContain('No tensor matches "*.mlp.*": a * stops at dots, and ** does not')
  })

  test('--diff says what has to move; from a plan to itself, nothing', async () => {
    const { stdout } = await onecopy('plan', model, '--tp', '2', '--json')
    const old = write('old.json', stdout)
    const same = await onecopy('plan', model, '--tp', '2', '--diff', old)
    expect(same).toMatchObject({ code: 0, stderr: '' })
    expect(same.stdout).toMatch(new RegExp(`^from plan ${Plan.parse(stdout).id.slice(0, 16)}$`, 'm'))
    expect(same.stdout).toMatch(/^localhost +0 B +0 B +22\.3 KiB$/m)
    expect(same.stdout).not.toMatch(/^tensor /m)

    const hosts = write('hosts.json', {
      hosts: [{ name: 'localhost' }, { name: 'other' }],
      workers: [
        { name: 'w0', host: 'localhost' },
        { name: 'w1', host: 'other' },
      ],
    })
    const args = ['plan', model, '--tp', '2', '--hosts', hosts, '--diff', old] as const
    const moved = await onecopy(...args)
    expect(moved.stdout).toMatch(/^tensor +host +moved +freed$/m)
    expect(moved.stdout).toMatch(/^lm_head\.weight +other +1\.00 KiB +0 B$/m)
    expect(moved.stdout).toMatch(/^lm_head\.weight +localhost +0 B +1\.00 KiB$/m)
    const diff = JSON.parse((await onecopy(...args, '--json')).stdout)
    expect(diff).toEqual({ ...(await planned(model, '--tp', '2', '--hosts', hosts)).diff(Plan.parse(stdout)) })
    expect(diff).toMatchObject({ previousId: Plan.parse(stdout).id, keptBytes: expect.any(Number) })
    expect(diff.hosts.map(({ host }: { host: string }) => host)).toEqual(['localhost', 'other'])
  })

  test('names with control characters reach the terminal escaped, in tables, explanations and JSON', async () => {
    const hostile = ['\u001b[2J\u001b]0;owned\u0007', 'a\u009b31m', 'rtl\u202e', 'two\nlines', 'plain']
    const path = writeNames(folder, hostile)
    const policy = write('policy.json', { mesh: { tp: 1 }, rules: [{ match: { regex: '[^]*' }, replicate: true }] })
    const hosts = (host: string): string => {
      return write(`${host.length}.json`, { hosts: [{ name: host }], workers: [{ name: 'w\u009b1m\u0007', host }] })
    }
    const args = [path, '--policy', policy, '--hosts', hosts('h\u001b[1m')]
    const { stdout: json } = await onecopy('plan', ...args, '--json')
    const old = write('old.json', json)
    const elsewhere = [...args.slice(0, 3), '--hosts', hosts('other\u202e'), '--diff', old]
    for (const more of [args, [...args, '--explain', '**'], elsewhere, [...elsewhere, '--json'], [...args, '--json']]) {
      const { code, stdout, stderr } = await onecopy('plan', ...more)
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
      expect(stdout.replaceAll('\n', '')).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/)
    }
    const plan = Plan.parse(json)
    expect(new Set(plan.data.tensors.map(({ name }) => name))).toEqual(new Set(hostile))
    using checkpoint = await openCheckpoint(path)
    expect(() => plan.validate(checkpoint.index)).not.toThrow()
    const uncovered = write('uncovered.json', { rules: [{ match: 'plain', replicate: true }] })
    const message = await refused(path, '--policy', uncovered)
    expect(message).toMatch(/\(TENSOR_UNCOVERED\)$/)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: likewise
    expect(message).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/)
  })
})

describe('plan with bad input', () => {
  test('a typo in a policy names the field and the nearest right one', async () => {
    const rules = [{ match: '**', split: { dimention: 0, axis: 'tp' } }]
    expect(await refused(model, '--policy', write('policy.json', { rules }))).toMatch(
      /rules\[0\]\.split .*"dimention".*nearest: "dimension" \(POLICY_INVALID\)$/,
    )
    const top = write('top.json', { rules: RULES, objectiv: 'balanced' })
    expect(await refused(model, '--policy', top)).toMatch(/"objectiv".*nearest: "objective" \(POLICY_INVALID\)$/)
    expect(await refused(model, '--policy', write('list.json', []))).toMatch(/POLICY_INVALID/)
  })

  test.each([
    ['--policy', /^There is no policy file "[^"]+nothing\.json", and no preset of that name; presets are llama, /],
    ['--hosts', /^Cannot read "[^"]+nothing\.json" as JSON: ENOENT/],
    ['--config', /^Cannot read "[^"]+nothing\.json" as JSON: ENOENT/],
    ['--diff', /^Cannot read the plan "[^"]+nothing\.json": ENOENT/],
  ])('%s with a file that is missing, or no JSON, names it', async (option, missing) => {
    const message = await refused(model, option, join(folder, 'nothing.json'))
    expect(message).toMatch(missing)
    expect(message).toMatch(/\(FILE_INVALID\)$/)
    const broken = write('broken\u001b.json', '{"hosts": [\n\u001b[2J')
    expect(await refused(model, option, broken)).toMatch(/JSON.*\((FILE_INVALID|PLAN_INVALID)\)$/)
  })

  test('a checkpoint of no known family needs a policy', async () => {
    const folder = temporaryFolder()
    await saveTwoShards(folder)
    expect(await refused(folder)).toMatch(
      /^The tensors' names are of no model family with a preset \(llama, .*\); give a policy with --policy \(POLICY_MISSING\)$/,
    )
  })

  test('a missing checkpoint and a broken description say so', async () => {
    expect(await refused(join(folder, 'none'))).toMatch(/\(SOURCE_NOT_FOUND\)$/)
    expect(await refused(join(folder, 'none.json'))).toMatch(/\(SOURCE_NOT_FOUND\)$/)
    const { stdout } = await onecopy('inspect', model, '--json', '--tensors', '**.layers.0.**')
    expect(await refused(write('part.json', stdout))).toMatch(
      /^"[^"]+part\.json" is not what onecopy inspect --json prints: it lists 9 of 39 tensors; .*\(DESCRIPTION_INVALID\)$/,
    )
  })

  test('what cannot be divided names tensor, dimension, size and axis', async () => {
    const rules = write('thirds.json', { rules: RULES })
    expect(await refused(model, '--tp', '3', '--policy', rules)).toMatch(
      /^Cannot cut dimension [01] of tensor "model\.[^"]+", of size \d+, along tp of 3: .*\(DIMENSION_NOT_DIVISIBLE\)$/,
    )
  })

  test('hosts that do not fit the mesh, or the bytes, say what is missing', async () => {
    const workers = [
      { name: 'a', host: 'h' },
      { name: 'b', host: 'h' },
    ]
    const two = write('two.json', { hosts: [{ name: 'h' }], workers })
    expect(await refused(model, '--tp', '4', '--hosts', two)).toBe(
      'The mesh has 4 places (pp 1 × tp 4 × ep 1 × replicas 1), but the topology has 2 workers (MESH_MISMATCH)',
    )
    const small = write('small.json', { hosts: [{ name: 'h', memoryBytes: 20_000 }], workers })
    const message = await refused(model, '--tp', '2', '--hosts', small)
    expect(message).toMatch(/"h".*\(MEMORY_EXCEEDED\)$/)
    expect(message.replaceAll(/[,_]/g, '')).toContain('2816') // 22,816 are needed
    const typo = write('typo.json', { hosts: [{ name: 'host' }], workers: [{ name: 'a', host: 'hots' }] })
    expect(await refused(model, '--hosts', typo)).toMatch(/nearest: "host" \(HOST_UNKNOWN\)$/)
  })

  test('an earlier plan for another checkpoint, or one that was changed by hand, is refused', async () => {
    const { stdout } = await onecopy('plan', model, '--json')
    const changed = write('changed.json', stdout.replace('"tp":1', '"tp":2'))
    expect(await refused(model, '--diff', changed)).toMatch(/\(PLAN_INVALID\)$/)
    const path = writeNames(folder, ['a'])
    const policy = write('policy.json', { rules: [{ match: '**', replicate: true }] })
    expect(await refused(path, '--policy', policy, '--diff', write('old.json', stdout))).toMatch(
      /\(PLAN_OTHER_CHECKPOINT\)$/,
    )
  })

  test.each([
    ['--tp', '0'],
    ['--pp', '-1'],
    ['--ep', 'two'],
    ['--replicas', '1.5'],
    ['--tp', '8193'],
    ['--objective', 'cheapest'],
  ])('%s %s is misuse', async (option, value) => {
    const { code, stderr } = await onecopy('plan', model, option, value)
    expect(code).toBe(2)
    expect(stderr).toContain(`'${option} <`)
  })

  test('more workers than a host can have is an error, not a crash', async () => {
    expect(await refused(model, '--replicas', '8192', '--pp', '8192')).toMatch(/\(TOPOLOGY_INVALID\)$/)
  })
})
