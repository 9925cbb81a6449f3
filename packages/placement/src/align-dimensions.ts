import type { Shaped } from './shaped.ts'

/**
 * Which dimension of a tensor each dimension of its companion belongs to.
 *
 * With as many dimensions they belong together one by one. Otherwise they are found from the sizes, in the same order,
 * where equal ones go before multiples.
 *
 * @param block as in a policy's companion, by the companion's dimensions
 * @returns for each dimension of the companion that of the tensor, -1 for one of size 1 that belongs to none; null when
 * the shapes have no relation
 */
export function alignDimensions(
  companion: Shaped,
  owner: Shaped,
  block: readonly number[] | undefined,
): readonly number[] | null {
  if (companion.shape.length === owner.shape.length) return companion.shape.map((_, dimension) => dimension)

  /** How well two sizes go together; 0: not at all. */
  const rate = (dimension: number, of: number): number => {
    const size = companion.shape[dimension]!
    const ownerSize = owner.shape[of]!
    const given = block?.[dimension]
    if (given !== undefined) return Math.ceil(ownerSize / given) === size ? 2 : 0
    if (size === ownerSize) return 2
    return size > ownerSize && size % ownerSize === 0 ? 1 : 0
  }

  let best: readonly number[] | null = null
  let bestScore = 0
  const search = (places: readonly number[], next: number, score: number): void => {
    const dimension = places.length
    if (dimension === companion.shape.length) {
      if (score > bestScore) {
        best = places
        bestScore = score
      }
      return
    }
    for (let of = next; of < owner.shape.length; of++) {
      const rated = rate(dimension, of)
      if (rated > 0) search([...places, of], of + 1, score + rated)
    }
    if (companion.shape[dimension] === 1) search([...places, -1], next, score)
  }
  search([], 0, 0)
  return best
}
