import type { IndexedTensor } from '@onecopy/safetensors'
import { getOrMake } from './get-or-make.ts'
import type { Mesh } from './mesh.ts'
import type { Cutting } from './pieces.ts'
import type { Part, UnexplainedTensor } from './plan-data.ts'
import type { StageNeeds } from './units.ts'

/** A tensor of which everything is known but which stages its units go to. */
export interface PlaceableTensor {
  readonly tensor: IndexedTensor
  readonly cutting: Cutting
  readonly needs: StageNeeds
  readonly pinned: readonly number[] // workers, rising; empty unless it is pinned
}

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

  /** @param stages as {@link stages} gives them */
  place({ tensor, cutting, pinned }: PlaceableTensor, stages: readonly number[]): UnexplainedTensor {
    const key = pinned.length > 0 ? `on ${pinned}` : `${stages}`
    const byStages = getOrMake(this.#parts, cutting, () => new Map<string, readonly Part[]>())
    const parts = getOrMake(byStages, key, () => {
      return cutting.pieces.map(({ ranges, ep, tp }) => {
        return { ranges, workers: pinned.length > 0 ? pinned : this.#mesh.holders(stages, ep, tp) }
      })
    })
    const { name, dtype, shape, shard, begin, end } = tensor
    return { name, dtype, shape, shard, begin, end, parts }
  }
}
