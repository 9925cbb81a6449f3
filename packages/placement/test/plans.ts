import { DTYPE_NAMES, type Dtype, dtypeBits, extentsOf, type SelectedRange, tensorIndex } from '@onecopy/safetensors'
import fc from 'fast-check'
import type { PlanBody } from '../src/check-plan.ts'
import { PlacementError } from '../src/errors.ts'
import { layoutOf } from '../src/layout.ts'
import type { Part, PlannedHost, PlannedWorker } from '../src/plan-data.ts'

/** The PlacementError that `run` throws; any other outcome fails the test. */
export function thrownBy(run: () => unknown): PlacementError {
  try {
    run()
  } catch (error) {
    if (error instanceof PlacementError) return error
    throw error
  }
  throw new Error('Nothing was thrown')
}

/** A tensor of a hand-made plan. */
export interface TensorSketch {
  readonly name: string
  readonly dtype: Dtype
  readonly shape: readonly number[]
  readonly parts: readonly Part[]
  readonly shard?: number
}

/** A plan's body for tensors that lie one behind the other in their shards. */
export function bodyOf(
  sketches: readonly TensorSketch[],
  rest: Partial<Pick<PlanBody, 'mesh' | 'hosts' | 'workers' | 'objective' | 'reasons'>> = {},
): PlanBody {
  const ends = [8, 8]
  const tensors = sketches.map(({ name, dtype, shape, parts, shard = 0 }, place) => {
    const begin = ends[shard]!
    const end = begin + (shape.reduce((product, size) => product * size, 1) * dtypeBits(dtype)) / 8
    ends[shard] = end
    return { name, dtype, shape, shard, begin, end, reason: place % 2, parts }
  })
  const shards = ends.map((byteLength, shard) => ({ name: `model-${shard}.safetensors`, byteLength }))
  return {
    layout: layoutOf(tensorIndex(shards, tensors)),
    mesh: { pp: 1, tp: 2, ep: 1, replicas: 1 },
    objective: 'balanced',
    hosts: [hostNamed('h0')],
    workers: [workerNamed('w0', { tp: 0 }), workerNamed('w1', { tp: 1 })],
    shards,
    reasons: ['rule 0: cut along tp', 'rule 1: on every worker'],
    tensors,
    ...rest,
  }
}

export function hostNamed(name: string, rest: Partial<PlannedHost> = {}): PlannedHost {
  return { name, memoryBytes: null, numaNodes: [{ memoryBytes: null }], ...rest }
}

export function workerNamed(name: string, rest: Partial<PlannedWorker> = {}): PlannedWorker {
  return { name, host: 'h0', numaNode: 0, memoryBytes: null, replica: 0, pp: 0, ep: 0, tp: 0, ...rest }
}

/** Two workers on one host: `rows` cut along dimension 0, `columns` along dimension 1, `norm` on both. */
export function smallBody(): PlanBody {
  const halves = (ranges: readonly (readonly SelectedRange[])[]) => {
    return ranges.map((range, worker) => ({ ranges: range, workers: [worker] }))
  }
  return bodyOf([
    { name: 'rows', dtype: 'F32', shape: [4, 6], parts: halves([[[0, 2]], [[2, 4]]]) },
    {
      name: 'columns',
      dtype: 'BF16',
      shape: [4, 6],
      parts: halves([
        [
          [0, 4],
          [0, 3],
        ],
        [
          [0, 4],
          [3, 6],
        ],
      ]),
    },
    { name: 'norm', dtype: 'F16', shape: [6], parts: [{ ranges: [], workers: [0, 1] }], shard: 1 },
  ])
}

/** The positions of a selection's elements in the tensor, row by row. */
export function elementsOf(shape: readonly number[], ranges: readonly SelectedRange[]): number[] {
  let places = [0]
  for (const [dimension, size] of shape.entries()) {
    const extents = extentsOf(ranges[dimension] ?? [0, size])
    const taken = extents.flatMap(([start, stop]) => Array.from({ length: stop - start }, (_, at) => start + at))
    places = places.flatMap((place) => taken.map((index) => place * size + index))
  }
  return places
}

/** A shape, and several selections of it that need not be disjoint. */
export const selectionsArbitrary: fc.Arbitrary<{ shape: number[]; list: SelectedRange[][] }> = fc
  .array(fc.nat(5), { maxLength: 3 })
  .chain((shape) =>
    fc.record({ shape: fc.constant(shape), list: fc.array(rangesArbitrary(shape), { minLength: 1, maxLength: 5 }) }),
  )

function rangesArbitrary(shape: readonly number[]): fc.Arbitrary<SelectedRange[]> {
  const ranges = fc.tuple(...shape.map((size) => rangeArbitrary(size)))
  return fc.tuple(ranges, fc.nat(shape.length)).map(([all, length]) => all.slice(0, length))
}

function rangeArbitrary(size: number): fc.Arbitrary<SelectedRange> {
  return fc.array(fc.boolean(), { minLength: size, maxLength: size }).map((taken) => {
    const positions = [...taken.keys()].filter((position) => taken[position])
    return positions.length === 0 ? [size, size] : rangeOf(positions)
  })
}

/** Rising positions as a range. */
function rangeOf(positions: readonly number[], unit = 1): SelectedRange {
  const extents: [number, number][] = []
  for (const position of positions) {
    const last = extents.at(-1)
    if (last !== undefined && last[1] === position * unit) last[1] += unit
    else extents.push([position * unit, (position + 1) * unit])
  }
  return extents.length === 1 ? extents[0]! : extents
}

/** Cuts a dimension into sets of positions, neighbours or not. */
function cutsArbitrary(size: number, unit: number): fc.Arbitrary<SelectedRange[]> {
  if (size === 0) return fc.constant([[0, 0]])
  const units = size / unit
  return fc.array(fc.nat(2), { minLength: units, maxLength: units }).map((colours) => {
    const sets = [0, 1, 2].map((colour) => [...colours.keys()].filter((position) => colours[position] === colour))
    return sets.filter((positions) => positions.length > 0).map((positions) => rangeOf(positions, unit))
  })
}

function partsArbitrary(shape: readonly number[], unit: number, workerCount: number): fc.Arbitrary<Part[]> {
  const last = shape.length - 1
  const cuts = fc.tuple(...shape.map((size, dimension) => cutsArbitrary(size, dimension === last ? unit : 1)))
  // Everything to one worker; to each other one nothing, everything, a part, or all parts that share a choice of dimension 0.
  const shares = fc.array(fc.tuple(fc.constantFrom('nothing', 'all', 'part', 'row'), fc.nat(1000)), {
    minLength: workerCount,
    maxLength: workerCount,
  })
  return fc.tuple(cuts, shares, fc.nat(workerCount - 1)).map(([choices, kinds, full]) => {
    let products: SelectedRange[][] = [[]]
    for (const ranges of choices) products = products.flatMap((product) => ranges.map((range) => [...product, range]))
    return products.map((ranges, place) => {
      const workers = kinds.flatMap(([kind, number], worker) => {
        const row = choices[0] === undefined ? undefined : choices[0][number % choices[0].length]
        const holds =
          worker === full ||
          kind === 'all' ||
          (kind === 'part' && number % products.length === place) ||
          (kind === 'row' && ranges[0] === row)
        return holds ? [worker] : []
      })
      return { ranges, workers }
    })
  })
}

function sketchArbitrary(name: string, workerCount: number): fc.Arbitrary<TensorSketch> {
  return fc.tuple(fc.constantFrom(...DTYPE_NAMES), fc.array(fc.nat(4), { maxLength: 3 }), fc.nat(1)).chain((kind) => {
    const [dtype, sizes, shard] = kind
    // Four elements of any type fill whole bytes.
    const unit = dtypeBits(dtype) % 8 === 0 ? 1 : 4
    const shape = unit === 1 ? sizes : [...sizes, 8]
    return partsArbitrary(shape, unit, workerCount).map((parts) => ({ name, dtype, shape, shard, parts }))
  })
}

/** Bodies of valid plans: several hosts and NUMA nodes, all dtypes, tensors without elements, several extents. */
export const bodyArbitrary: fc.Arbitrary<PlanBody> = fc
  .record({
    pp: fc.integer({ min: 1, max: 2 }),
    tp: fc.integer({ min: 1, max: 2 }),
    ep: fc.integer({ min: 1, max: 2 }),
  })
  .chain((axes) => {
    const mesh = { ...axes, replicas: 1 }
    const count = mesh.pp * mesh.tp * mesh.ep
    const hosts = fc.array(fc.integer({ min: 1, max: 2 }), { minLength: 1, maxLength: 3 })
    const seats = fc.array(fc.tuple(fc.nat(5), fc.nat(5)), { minLength: count, maxLength: count })
    const names = fc.uniqueArray(fc.string({ unit: 'binary', maxLength: 6 }), { maxLength: 5 })
    const sketches = names.chain((list) => fc.tuple(...list.map((name) => sketchArbitrary(name, count))))
    return fc.tuple(fc.constant(mesh), hosts, seats, sketches)
  })
  .map(([mesh, nodeCounts, seats, sketches]) => {
    const hosts = nodeCounts.map((nodes, host) => {
      return hostNamed(`host ${host}`, { numaNodes: Array.from({ length: nodes }, () => ({ memoryBytes: null })) })
    })
    const workers = seats.map(([host, node], place) => {
      const { name, numaNodes } = hosts[host % hosts.length]!
      return workerNamed(`worker ${place}`, {
        host: name,
        numaNode: node % numaNodes.length,
        pp: Math.floor(place / (mesh.ep * mesh.tp)),
        ep: Math.floor(place / mesh.tp) % mesh.ep,
        tp: place % mesh.tp,
      })
    })
    return bodyOf(sketches, { mesh, hosts, workers })
  })
