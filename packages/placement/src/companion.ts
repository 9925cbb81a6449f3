import { type Extent, joinTouching, quoteName } from '@onecopy/safetensors'
import { alignDimensions } from './align-dimensions.ts'
import { PlacementError } from './errors.ts'
import type { Companion } from './policy.ts'
import type { Shaped } from './shaped.ts'
import type { Cut } from './split.ts'

/** How positions of a tensor's dimension turn into those of its companion's. */
interface Scale {
  /** Positions of the tensor that one position of the companion stands for; 1 where the companion is as long or longer. */
  readonly block: number
  /** Positions of the companion that one position of the tensor stands for; 1 where the companion is as long or shorter. */
  readonly factor: number
}

/**
 * Cuts a companion as the tensor that it belongs to was cut: in each dimension in the proportion of the two sizes, so that
 * whoever holds a piece of the tensor holds exactly what belongs to it. A companion of one element, and a dimension of
 * size 1, stay whole.
 *
 * @param by how the policy says that the two belong together
 * @throws PlacementError COMPANION_UNFIT where sizes are in no proportion, or where a piece begins or ends inside a block
 */
export function cutCompanion(
  companion: Shaped,
  owner: Shaped,
  cuts: readonly Cut[],
  { block, along }: Pick<Companion, 'block' | 'along'> = {},
): readonly Cut[] {
  if (cuts.length === 0 || companion.shape.every((size) => size <= 1) || companion.shape.includes(0)) return []
  const places = along?.map((of) => of ?? -1) ?? alignDimensions(companion, owner, block)
  if (places === null || places.length !== companion.shape.length) {
    throw unfit(companion, owner, `its shape [${companion.shape}] has no relation to [${owner.shape}]`, {})
  }
  const result: Cut[] = []
  for (const { dimension: of, axis, pieces } of cuts) {
    const dimension = places.indexOf(of)
    const size = companion.shape[dimension] ?? 1
    if (size === 1) continue
    const ownerSize = owner.shape[of]!
    const details = { dimension, size, ownerDimension: of, ownerSize, block: block?.[dimension] }
    const scale = scaleOf(ownerSize, size, block?.[dimension])
    if (scale === null) {
      const rule = `its dimension ${dimension} has size ${size}, which is in no whole proportion to ${ownerSize}`
      throw unfit(companion, owner, rule, details)
    }
    const moved = pieces.map(({ positions, extents }) => ({
      positions,
      extents: joinTouching(
        extents.map((extent) => {
          const scaled = scaleExtent(extent, ownerSize, scale)
          if (scaled !== null) return scaled
          const what = `piece [${extent}] of dimension ${of}, of size ${ownerSize}, must begin and end between blocks`
          throw unfit(companion, owner, `${what} of ${scale.block}`, { ...details, ...scale, extent })
        }),
      ),
    }))
    result.push({ dimension, axis, pieces: moved })
  }
  return result.sort((a, b) => a.dimension - b.dimension)
}

/**
 * The proportion of two sizes of which neither is 1, or null when there is none. A power of two that explains them goes
 * before another divisor, since blocks of quantised weights are such, and the last of them may be incomplete.
 *
 * @param block the proportion, where it is known
 */
export function scaleOf(ownerSize: number, size: number, block?: number): Scale | null {
  if (block !== undefined) return Math.ceil(ownerSize / block) === size ? { block, factor: 1 } : null
  if (size >= ownerSize) return size % ownerSize === 0 ? { block: 1, factor: size / ownerSize } : null
  const power = 2 ** Math.ceil(Math.log2(ownerSize / size))
  if (Math.ceil(ownerSize / power) === size) return { block: power, factor: 1 }
  return ownerSize % size === 0 ? { block: ownerSize / size, factor: 1 } : null
}

/** An extent in the companion's positions, or null when it does not begin and end between blocks. */
function scaleExtent([start, stop]: Extent, ownerSize: number, { block, factor }: Scale): Extent | null {
  if (start % block !== 0 || (stop % block !== 0 && stop !== ownerSize)) return null
  return [(start / block) * factor, Math.ceil(stop / block) * factor]
}

function unfit(
  companion: Shaped,
  owner: Shaped,
  rule: string,
  details: Readonly<Record<string, unknown>>,
): PlacementError {
  const what = `Tensor ${quoteName(companion.name)} cannot follow ${quoteName(owner.name)}`
  const fields = { tensor: companion.name, details: { owner: owner.name, ...details } }
  return new PlacementError('COMPANION_UNFIT', `${what}: ${rule}`, fields)
}
