import { type Mesh, placeIn } from './mesh.ts'
import type { Piece } from './pieces.ts'
import type { PlaceableTensor } from './place-tensors.ts'
import type { Topology } from './topology.ts'

/** Workers of a stage that would hold the same of every unit, and hold the same already. */
interface LoadRow {
  readonly cell: number // position along ep and tp
  readonly fixedBytes: number
  readonly weight: number
  readonly memoryBytes: number
}

/** How many bytes workers and stages would hold for each choice of stages. */
export class Loads {
  /** Bytes of each unit's tensors, however many workers hold them. */
  readonly unitBytes: readonly number[]
  /** Bytes of what is in each stage whatever is chosen, each tensor once. */
  readonly stageBytes: readonly number[]
  /** Sum of the weights of each stage's workers. */
  readonly stageWeights: readonly number[]
  readonly #sums: readonly Float64Array[] // bytes by cell of all units before the position
  readonly #rows: readonly (readonly LoadRow[])[]

  constructor(tensors: readonly PlaceableTensor[], unitCount: number, mesh: Mesh, topology: Topology) {
    const { pp, ep, tp } = mesh.size
    const cells = ep * tp
    const unitBytes = Array.from({ length: unitCount }, () => 0)
    const stageBytes = Array.from({ length: pp }, () => 0)
    const byUnit = unitBytes.map(() => new Float64Array(cells))
    const byStage = stageBytes.map(() => new Float64Array(cells))
    const byWorker = new Float64Array(topology.workers.length)
    for (const { tensor, cutting, needs, pinned } of tensors) {
      const byteLength = tensor.end - tensor.begin
      for (const worker of pinned) byWorker[worker]! += byteLength
      for (const stage of new Set(pinned.map((worker) => mesh.workers[worker]!.pp))) stageBytes[stage]! += byteLength
      for (const stage of needs.fixed) {
        stageBytes[stage]! += byteLength
        addPieces(byStage[stage]!, cutting.pieces, ep, tp)
      }
      // One that is in a stage anyway counts twice where its unit goes there too: only tied tensors can be such.
      for (const unit of needs.units) {
        unitBytes[unit]! += byteLength
        addPieces(byUnit[unit]!, cutting.pieces, ep, tp)
      }
    }
    this.unitBytes = unitBytes
    this.stageBytes = stageBytes
    const sums = [new Float64Array(cells)]
    for (const bytes of byUnit) sums.push(sums.at(-1)!.map((sum, cell) => sum + bytes[cell]!))
    this.#sums = sums

    const firstAlike = alikeCells(byUnit, cells)
    const rows = byStage.map((inStage, stage) => {
      return workersOf(mesh, stage).map(({ worker, cell }): LoadRow => {
        const { weight = 1, memoryBytes = Number.POSITIVE_INFINITY } = topology.workers[worker]!
        return { cell: firstAlike[cell]!, fixedBytes: inStage[cell]! + byWorker[worker]!, weight, memoryBytes }
      })
    })
    this.stageWeights = rows.map((all) => all.reduce((sum, { weight }) => sum + weight, 0))
    // Most workers of a stage are alike, and every choice of stages asks all rows.
    this.#rows = rows.map((all) => [...new Map(all.map((row) => [Object.values(row).join(), row])).values()])
  }

  /** The most bytes for its weight that a worker of the stage would hold with the units of a half-open range. */
  peak(stage: number, begin: number, end: number): number {
    return this.#peakWith(stage, (cell) => this.#sums[end]![cell]! - this.#sums[begin]![cell]!)
  }

  /** The same with any units. */
  peakOf(stage: number, units: readonly number[]): number {
    return this.#peakWith(stage, (cell) => {
      return units.reduce((sum, unit) => sum + this.#sums[unit + 1]![cell]! - this.#sums[unit]![cell]!, 0)
    })
  }

  #peakWith(stage: number, bytesOf: (cell: number) => number): number {
    let peak = 0
    for (const { cell, fixedBytes, weight } of this.#rows[stage]!) {
      peak = Math.max(peak, (fixedBytes + bytesOf(cell)) / weight)
    }
    return peak
  }

  /** Whether every worker of the stage has memory for the units of a half-open range beside what it holds anyway. */
  fits(stage: number, begin: number, end: number): boolean {
    const before = this.#sums[begin]!
    const after = this.#sums[end]!
    return this.#rows[stage]!.every(({ cell, fixedBytes, memoryBytes }) => {
      return fixedBytes + after[cell]! - before[cell]! <= memoryBytes
    })
  }
}

/** The workers of a stage, of all replicas, and their positions along ep and tp. */
function workersOf({ size, workerAt }: Mesh, stage: number): readonly { worker: number; cell: number }[] {
  const cells = size.ep * size.tp
  return Array.from({ length: size.replicas * cells }, (_, nth) => {
    const cell = nth % cells
    const place = placeIn(size, Math.floor(nth / cells), stage, Math.floor(cell / size.tp), cell % size.tp)
    return { worker: workerAt[place]!, cell }
  })
}

function addPieces(bytes: Float64Array, pieces: readonly Piece[], epCount: number, tpCount: number): void {
  for (const { ep, tp, byteLength } of pieces) {
    for (let e = 0; e < (ep?.length ?? epCount); e++) {
      const row = (ep?.[e] ?? e) * tpCount
      for (let t = 0; t < (tp?.length ?? tpCount); t++) bytes[row + (tp?.[t] ?? t)]! += byteLength
    }
  }
}

/** For each cell the first that holds as much of every unit. */
function alikeCells(byUnit: readonly Float64Array[], cells: number): readonly number[] {
  let alike = Array.from({ length: cells }, () => 0)
  for (const bytes of byUnit) {
    const firsts = new Map<string, number>()
    alike = alike.map((first, cell) => {
      const key = `${first} ${bytes[cell]}`
      const known = firsts.get(key)
      if (known !== undefined) return known
      firsts.set(key, cell)
      return cell
    })
  }
  return alike
}
