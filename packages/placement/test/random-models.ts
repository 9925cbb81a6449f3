import { DTYPE_NAMES, type Dtype, dtypeBits, type Extent, extentsOf } from '@onecopy/safetensors'
import fc from 'fast-check'
import type { MeshSize } from '../src/mesh.ts'
import type { PlacedTensor } from '../src/plan-data.ts'
import type { Policy, Rule, Split } from '../src/policy.ts'
import type { Topology } from '../src/topology.ts'
import type { Listed } from './real-headers.ts'

/** A tensor's rule, the numbers in its name, and, for a companion, how many positions of its tensor each of its own is for. */
export interface Expected {
  readonly rule: Rule
  readonly layer: number | null
  readonly expert: number | null
  readonly owner: { readonly shape: readonly number[]; readonly block: readonly number[] } | null
}

/** A model, and what to expect of its tensors. */
export interface RandomModel {
  readonly listed: readonly Listed[]
  readonly expected: ReadonlyMap<string, Expected>
  readonly policy: Policy
  readonly experts: number
  readonly layers: number
}

export const meshes: fc.Arbitrary<MeshSize> = fc.record({
  pp: fc.integer({ min: 1, max: 3 }),
  tp: fc.integer({ min: 1, max: 4 }),
  ep: fc.integer({ min: 1, max: 3 }),
  replicas: fc.integer({ min: 1, max: 2 }),
})

/** Workers for a mesh, dealt over hosts in runs. */
export function topologyFor({ pp, tp, ep, replicas }: MeshSize, workersPerHost = 2): Topology {
  const count = pp * tp * ep * replicas
  const hosts = Array.from({ length: Math.ceil(count / workersPerHost) }, (_, host) => ({ name: `h${host}` }))
  const workers = Array.from({ length: count }, (_, worker) => {
    return { name: `w${worker}`, host: `h${Math.floor(worker / workersPerHost)}` }
  })
  return { hosts, workers }
}

/** A split that works, the size of its dimension, and sizes of blocks for a companion. */
function splitsOf(axis: 'tp' | 'ep', dimension: number, count: number): fc.Arbitrary<{ split: Split; size: number }> {
  const divisors = [1, 2, 3, 4].filter((number) => count % number === 0)
  const units = fc.oneof(
    fc.integer({ min: 1, max: 2 }).map((times) => times * count),
    fc.constantFrom(...divisors),
  )
  return fc
    .record({ unit: fc.integer({ min: 1, max: 3 }), blocks: fc.array(units, { minLength: 1, maxLength: 3 }) })
    .chain(({ unit, blocks }) => {
      const sizes = blocks.map((block) => block * unit)
      const size = sizes.reduce((sum, block) => sum + block, 0)
      const equal = sizes.every((block) => block === sizes[0])
      return fc.boolean().map((asNumber) => {
        return { split: { dimension, axis, unit, blocks: equal && asNumber ? sizes.length : sizes }, size }
      })
    })
}

interface RuleKind {
  readonly rule: Omit<Rule, 'match'>
  readonly shape: readonly number[]
  readonly dtype: Dtype
  readonly byExpert: boolean
  readonly block: readonly number[] | null // of a companion
}

function ruleKinds(mesh: MeshSize): fc.Arbitrary<RuleKind> {
  return fc
    .record({
      byExpert: fc.boolean(),
      cuts: fc.subarray(['tp', 'ep'] as const),
      swap: fc.boolean(),
      others: fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 1 }),
      dtype: fc.constantFrom(...DTYPE_NAMES),
      negative: fc.boolean(),
      companion: fc.boolean(),
    })
    .chain(({ byExpert, cuts, swap, others, dtype, negative, companion }) => {
      const axes = cuts.filter((axis) => axis === 'tp' || !byExpert)
      if (swap) axes.reverse()
      return fc.tuple(...axes.map((axis, dimension) => splitsOf(axis, dimension, mesh[axis]))).map((made): RuleKind => {
        // Elements of less than a byte fill whole bytes along a last dimension that is not cut.
        const tail = dtypeBits(dtype) < 8 ? [8] : []
        const shape = [...made.map(({ size }) => size), ...others, ...tail]
        const split = made.map(({ split }) => {
          return negative ? { ...split, dimension: split.dimension - shape.length } : split
        })
        // Pieces begin and end at whole units, and so do the blocks of a companion.
        const block = companion && shape.length > 0 ? shape.map((_, at) => made[at]?.split.unit ?? 1) : null
        const whole = split.length === 0 && !byExpert ? { replicate: true as const } : {}
        const rule = { ...(split.length > 0 && { split }), ...(byExpert && { expert: 'ep' as const }), ...whole }
        return { rule, shape, dtype, byExpert, block }
      })
    })
}

export function randomModels(mesh: MeshSize): fc.Arbitrary<RandomModel> {
  return fc
    .record({
      kinds: fc.array(ruleKinds(mesh), { minLength: 1, maxLength: 3 }),
      layers: fc.integer({ min: 1, max: 5 }),
      experts: fc.integer({ min: 1, max: 5 }),
      objective: fc.constantFrom('balanced', 'min-peak', 'sticky' as const),
    })
    .map(({ kinds, layers, experts, objective }) => {
      const listed: Listed[] = []
      const expected = new Map<string, Expected>()
      const rules: Rule[] = []
      const add = (name: string, { rule, shape, dtype, block }: RuleKind, match: string, at: Partial<Expected>) => {
        const numbers = { layer: null, expert: null, ...at }
        listed.push([name, dtype, shape])
        expected.set(name, { rule: { match, ...rule }, owner: null, ...numbers })
        if (block === null) return
        const scale = `${name}_blocks`
        listed.push([scale, 'F32', shape.map((size, dimension) => size / block[dimension]!).map(Math.ceil)])
        expected.set(scale, { rule: { match, ...rule }, owner: { shape, block }, ...numbers })
      }
      const companions: { match: string; of: string; block?: readonly number[] }[] = []
      for (const [nth, kind] of kinds.entries()) {
        const experted = kind.byExpert ? '.experts.{expert}' : ''
        const match = `layers.{layer}.r${nth}${experted}`
        rules.push({ match, ...kind.rule })
        for (let layer = 0; layer < layers; layer++) {
          for (let expert = 0; expert < (kind.byExpert ? experts : 1); expert++) {
            const name = `layers.${layer}.r${nth}${kind.byExpert ? `.experts.${expert}` : ''}`
            add(name, kind, match, { layer, expert: kind.byExpert ? expert : null })
          }
        }
        // Templates have no numbers, so each expert's companion needs one of its own.
        const tails = kind.byExpert ? Array.from({ length: experts }, (_, expert) => `.experts.${expert}`) : ['']
        if (kind.block === null) continue
        for (const tail of tails) {
          const of = `{name}.r${nth}${tail}`
          companions.push({ match: `${of}_blocks`, of, block: kind.block })
        }
      }
      for (const [name, stage] of [
        ['embed', 'first'],
        ['head', 'last'],
        ['extra', 'auto'],
      ] as const) {
        const rule: RuleKind['rule'] = { replicate: true, stage }
        rules.push({ match: name, ...rule })
        add(name, { rule, shape: [2, 3], dtype: 'BF16', byExpert: false, block: null }, name, {})
      }
      return { listed, expected, policy: { mesh, rules, companions, objective }, experts, layers }
    })
}

/** The positions on an axis that hold a position of a dimension: what `Split` says, element by element. */
export function positionsOf(at: number, size: number, split: Split, count: number): readonly number[] {
  const { blocks = 1 } = split
  const unit = split.unit ?? 1
  const sizes = typeof blocks === 'number' ? Array.from({ length: blocks }, () => size / blocks) : blocks
  let begin = 0
  for (const length of sizes) {
    if (at < begin + length) {
      const units = length / unit
      const nth = Math.floor((at - begin) / unit)
      return Array.from({ length: count }, (_, position) => position).filter((position) => {
        return units >= count
          ? Math.floor(nth / (units / count)) === position
          : Math.floor(position / (count / units)) === nth
      })
    }
    begin += length
  }
  throw new Error('Beyond the dimension')
}

/** Every element's indices, outermost dimension first. */
export function* elementsOf(shape: readonly number[]): Generator<readonly number[], void> {
  if (shape.length === 0) {
    yield []
    return
  }
  for (let at = 0; at < shape[0]!; at++) {
    for (const rest of elementsOf(shape.slice(1))) yield [at, ...rest]
  }
}

/** The workers that have an element, of all parts, each as often as it has it. */
export function holdersOf({ parts }: Pick<PlacedTensor, 'parts'>, element: readonly number[]): readonly number[] {
  return parts
    .filter(({ ranges }) => {
      return ranges.every((range, dimension) => {
        return extentsOf(range).some(
          ([start, stop]: Extent) => element[dimension]! >= start && element[dimension]! < stop,
        )
      })
    })
    .flatMap(({ workers }) => workers)
}
