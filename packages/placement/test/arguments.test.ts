import { expect, test } from 'vitest'
import { fromDeviceMap, fromMaxMemory } from '../src/device-map.ts'
import { layoutOf } from '../src/layout.ts'
import { oneHost } from '../src/one-host.ts'
import { Plan } from '../src/plan.ts'
import { planPlacement } from '../src/plan-placement.ts'
import { PRESETS, presetFor } from '../src/presets.ts'
import { readPolicy } from '../src/read-policy.ts'
import { readTopology } from '../src/read-topology.ts'
import { fromTpPlan } from '../src/tp-plan.ts'
import { smallBody } from './plans.ts'
import { indexOf } from './real-headers.ts'

const index = indexOf([['a', 'F32', [2]]])
const policy = { rules: [{ match: '**', replicate: true }] } as const
const plan = Plan.of(smallBody())
/** What a caller without types may give. */
const wrong = (value: unknown): never => value as never

const misuses: readonly (readonly [what: string, names: RegExp, run: () => unknown])[] = [
  [
    'planPlacement() of nothing',
    /source of planPlacement\(\) is undefined/,
    () => planPlacement(wrong(undefined), oneHost(1), policy),
  ],
  [
    'planPlacement() of a path',
    /source of planPlacement\(\) is "\.\/m"/,
    () => planPlacement(wrong('./m'), oneHost(1), policy),
  ],
  [
    'planPlacement() of an empty object',
    /source of planPlacement\(\)/,
    () => planPlacement(wrong({}), oneHost(1), policy),
  ],
  ['planPlacement() on no topology', /topology/, () => planPlacement(index, wrong(undefined), policy)],
  ['planPlacement() by no policy', /policy/, () => planPlacement(index, oneHost(1), wrong(null))],
  [
    'planPlacement() by a preset that was not called',
    /policy/,
    () => planPlacement(index, oneHost(1), wrong(PRESETS.llama)),
  ],
  ['readPolicy() of a misspelt field', /ruels/, () => readPolicy({ ruels: [] })],
  ['readTopology() of a misspelt field', /hostz/, () => readTopology({ hostz: [] })],
  ['a preset without a mesh', /mesh/, () => PRESETS.llama(wrong(undefined))],
  ['a preset with a misspelt axis', /mesh\.dp/, () => PRESETS.qwen(wrong({ dp: 2 }))],
  ['a preset with half a worker', /mesh\.tp/, () => PRESETS.mixtral({ tp: 2.5 })],
  ['a preset with a wrong config', /config of a preset/, () => PRESETS.deepseek({ tp: 2 }, wrong('config.json'))],
  ['a preset with a wrong size', /vocab_size/, () => PRESETS.deepseek({ tp: 2 }, wrong({ vocab_size: '9' }))],
  ['presetFor() of one name', /names of presetFor\(\)/, () => presetFor(wrong('a'))],
  ['fromTpPlan() of nothing', /plan of fromTpPlan\(\)/, () => fromTpPlan(wrong(undefined))],
  ['fromTpPlan() with a misspelt option', /"tensorParallel"/, () => fromTpPlan({}, wrong({ tensorParallel: 2 }))],
  ['fromTpPlan() with a wrong axis', /mesh\.tp/, () => fromTpPlan({}, { tp: 0 })],
  ['fromTpPlan() with a wrong prefix', /option prefix/, () => fromTpPlan({}, wrong({ prefix: 7 }))],
  ['fromTpPlan() with a wrong epPlan', /option epPlan/, () => fromTpPlan({}, wrong({ epPlan: [] }))],
  ['fromDeviceMap() of a list', /device map of fromDeviceMap\(\)/, () => fromDeviceMap(wrong([]))],
  ['fromDeviceMap() with a misspelt option', /"device"/, () => fromDeviceMap({ '': 0 }, wrong({ device: {} }))],
  ['fromDeviceMap() with a wrong mesh', /mesh\.pp/, () => fromDeviceMap({ '': 0 }, { mesh: { pp: -1 } })],
  ['fromMaxMemory() of a size', /memory of fromMaxMemory\(\)/, () => fromMaxMemory(wrong('10GiB'))],
  ['fromMaxMemory() with a misspelt option', /"nosplit"/, () => fromMaxMemory({ 0: 1 }, wrong({ nosplit: [] }))],
  ['fromMaxMemory() with a wrong option', /option noSplit/, () => fromMaxMemory({ 0: 1 }, wrong({ noSplit: 'a' }))],
  ['oneHost() of a text', /host/, () => oneHost(wrong('4'))],
  ['oneHost() of a symbol', /workers is a symbol/, () => oneHost(wrong(Symbol('4')))],
  ['oneHost() of a function', /workers is a function/, () => oneHost(wrong(() => 4))],
  [
    'fromTpPlan() with what has no text',
    /\["a"\] is an empty object/,
    () => fromTpPlan(wrong({ a: Object.create(null) })),
  ],
  ['fromDeviceMap() with what has no text', /\["a"\] is a symbol/, () => fromDeviceMap(wrong({ a: Symbol('0') }))],
  ['oneHost() with a misspelt option', /"memory"/, () => oneHost(1, wrong({ memory: 1 }))],
  ['oneHost() with half a byte', /option memoryBytes/, () => oneHost(1, { memoryBytes: 1.5 })],
  ['layoutOf() of nothing', /index of layoutOf\(\)/, () => layoutOf(wrong(undefined))],
  ['Plan.parse() of an object', /plan to parse/, () => Plan.parse(wrong({}))],
  ['worker() by number', /name of a worker/, () => plan.worker(wrong(0))],
  ['selection() of nobody', /name of a worker/, () => plan.selection(wrong(undefined))],
  ['host() by number', /name of a host/, () => plan.host(wrong(0))],
  ['holdings() of nobody', /name of a host/, () => plan.holdings(wrong(undefined))],
  ['explain() with a misspelt option', /"tensor"/, () => plan.explain(wrong({ tensor: 'a' }))],
  ['explain() with a glob', /option tensors/, () => plan.explain(wrong({ tensors: '*' }))],
  ['validate() against a path', /index to validate against/, () => plan.validate(wrong('./m'))],
  ['diff() from JSON', /previous plan/, () => plan.diff(wrong(plan.toJSON()))],
]

test.each(misuses)('%s says what is wrong', (_, names, run) => {
  let error: unknown
  try {
    run()
  } catch (thrown) {
    error = thrown
  }
  expect(error).toBeInstanceOf(Error)
  const { name, code, message } = error as Error & { readonly code?: string }
  expect(['TypeError', 'RangeError', 'POLICY_INVALID', 'TOPOLOGY_INVALID']).toContain(code ?? name)
  expect(message).toMatch(names)
})
