import type { IndexedTensor } from '@onecopy/safetensors'
import type { Mesh } from './mesh.ts'
import type { Cutting } from './pieces.ts'
import type { Part, PlacedTensor } from './plan-data.ts'
import type { StageNeeds } from './units.ts'

/** A tensor of which everything is known but which stages its units go to. */
export interface PlaceableTensor {
  readonly tensor: IndexedTensor
  readonly cutting: Cutting
  readonly needs: StageNeeds
  readonly pinned: readonly number[] // workers, rising; empty unless it is pinned
}

/** A tensor without a reason. */
export type HeldTensor = Omit<PlacedTensor, 'reason'>

/** Where tensors go for a choice of stages. Tensors that are cut alike and go to the same stages share one array of parts. */
export class TensorPlacer {
  readonly #mesh: Mesh
  readonly #parts = new Map<Cutting, Map<string, readonly Part[]>>()

  constructor(mesh: Mesh) {
    this.#mesh = mesh
  }

  /** The stages that a tensor is in, rising. */
  stages({ needs, pinned }: PlaceableTensor, stageOf: readonly number[]): readonly number[] {
    const stages = [...needs.fixed, ...needs.units.map((unit) => stageOf[unit]!)]
    for (const worker of pinned) stages.push(this.#mesh.workers[worker]!.pp)
    return stages.length === 1 ? stages : [...new Set(stages)].sort((a, b) => a - b)
  }

  /**
   * @param stages as {@link stages} gives them
   */
  place({ tensor, cutting, pinned }: PlaceableTensor, stages: readonly number[]): HeldTensor {
    const key = pinned.length > 0 ? `on ${pinned}` : `${stages}`
    let byStages = this.#parts.get(cutting)
    if (byStages === undefined) {
      byStages = new Map()
      this.#parts.set(cutting, byStages)
    }
    let parts = byStages.get(key)
    if (parts === undefined) {
      parts = cutting.pieces.map(({ ranges, ep, tp }) => {
        return { ranges, workers: pinned.length > 0 ? pinned : this.#mesh.holders(stages, ep, tp) }
      })
      byStages.set(key, parts)
    }
    const { name, dtype, shape, shard, begin, end } = tensor
    return { name, dtype, shape, shard, begin, end, parts }
  }
}
