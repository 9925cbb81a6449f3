import { type Extent, joinTouching, quoteName } from '@onecopy/safetensors'
import { PlacementError } from './errors.ts'
import { getOrMake } from './get-or-make.ts'
import type { Split, SplitAxis } from './policy.ts'

/** What some positions on an axis hold of a dimension, all of them the same. */
export interface CutPiece {
  readonly positions: readonly number[] // rising
  readonly extents: readonly Extent[] // rising, none touches the next
}

/** A dimension of a tensor that is cut along an axis. The pieces are disjoint, and together the whole dimension. */
export interface Cut {
  readonly dimension: number // 0 is outermost
  readonly axis: SplitAxis
  readonly pieces: readonly CutPiece[]
}

/** Whose dimension is cut, for errors. */
export interface CutSubject {
  readonly tensor: string
  readonly rule: string // such as `rules[3] "model.**"`
  readonly field: string // such as `rules[3]`
}

/**
 * Cuts a tensor's dimensions.
 *
 * @param counts how many positions each axis has
 * @returns only what is really cut: nothing for tensors without dimensions or elements, along an axis with one position,
 * and where every position holds the whole dimension
 * @throws PlacementError POLICY_INVALID for a dimension that the tensor has not, or that is cut twice;
 * DIMENSION_NOT_DIVISIBLE where the pieces would not be equal
 */
export function cutShape(
  shape: readonly number[],
  splits: readonly Split[],
  counts: Readonly<Record<SplitAxis, number>>,
  subject: CutSubject,
): readonly Cut[] {
  if (shape.length === 0) return []
  const cuts: Cut[] = []
  const seen = new Set<number>()
  for (const split of splits) {
    const dimension = dimensionOf(shape, split, seen, subject)
    seen.add(dimension)
    const size = shape[dimension]!
    const count = counts[split.axis]
    if (count === 1 || shape.includes(0)) continue
    if (split.unit === null) throw unknownUnits(dimension, split, subject)
    const mayRepeat = split.unit !== undefined && !isInputs(subject.tensor, dimension, shape.length)
    const pieces = cutDimension(size, split, mayRepeat, count, { ...subject, dimension })
    if (pieces.length > 1) cuts.push({ dimension, axis: split.axis, pieces })
  }
  return cuts.sort((a, b) => a.dimension - b.dimension)
}

function dimensionOf(
  shape: readonly number[],
  split: Split,
  seen: ReadonlySet<number>,
  { tensor, rule, field }: CutSubject,
): number {
  if (split.vectors === true && shape.length === 1) return 0
  const dimension = split.dimension < 0 ? split.dimension + shape.length : split.dimension
  const what = `${rule} cuts dimension ${split.dimension} of tensor ${quoteName(tensor)}`
  const fields = { tensor, field, details: { dimension: split.dimension, shape } }
  if (dimension < 0 || dimension >= shape.length) {
    const least = -shape.length
    const rule = `it has ${shape.length} dimensions, so it must be from ${least} to ${shape.length - 1}`
    throw new PlacementError('POLICY_INVALID', `${what}: ${rule}`, fields)
  }
  if (seen.has(dimension)) {
    throw new PlacementError('POLICY_INVALID', `${what} twice, each dimension can be cut along one axis only`, fields)
  }
  return dimension
}

/** Whether a dimension is that of a matrix's inputs: over them products are summed, so that nobody may have them twice. */
function isInputs(tensor: string, dimension: number, rank: number): boolean {
  if (rank < 2) return false
  return tensor.endsWith('.qweight')
    ? dimension === rank - 2
    : /\.weight(?:_packed)?$/.test(tensor) && dimension === rank - 1
}

/** Cuts every block by itself; pieces that the same positions hold are one. */
function cutDimension(
  size: number,
  split: Split,
  mayRepeat: boolean,
  count: number,
  subject: CutSubject & { readonly dimension: number },
): readonly CutPiece[] {
  const pieces = new Map<string, { positions: readonly number[]; extents: Extent[] }>()
  const sizes = blockSizes(size, split, count, subject)
  let begin = 0
  for (const [block, length] of sizes.entries()) {
    const unit = split.unit ?? 1
    const units = length / unit
    const shared = mayRepeat && units > 0 && units < count ? count / units : 1
    const share = shared > 1 ? unit : length / count
    if (!Number.isInteger(units) || !Number.isInteger(shared) || !Number.isInteger(share / unit)) {
      const of = sizes.length === 1 ? '' : `block ${block} of ${sizes.length} with `
      const rule = `${of}${length} positions in units of ${unit} must divide into ${count} equal parts`
      throw notDivisible(rule, size, split, count, subject, { block, blockSize: length, unit })
    }
    for (let position = 0; length > 0 && position < count; position += shared) {
      const positions = Array.from({ length: shared }, (_, next) => position + next)
      const start = begin + (position / shared) * share
      const piece = getOrMake(pieces, positions.join(), () => ({ positions, extents: [] }))
      piece.extents.push([start, start + share])
    }
    begin += length
  }
  return Array.from(pieces.values(), ({ positions, extents }) => ({ positions, extents: joinTouching(extents) }))
}

function unknownUnits(dimension: number, { axis }: Split, { tensor, rule, field }: CutSubject): PlacementError {
  const what = `${rule} cuts dimension ${dimension} of tensor ${quoteName(tensor)} along ${axis}, but it is not known which positions stay together, such as those of one attention head`
  const cure = "give the model's config.json: PRESETS.llama(mesh, checkpoint.config), or --config"
  return new PlacementError('POLICY_INVALID', `${what}; ${cure}`, { tensor, field: `${field}.split.unit` })
}

function blockSizes(
  size: number,
  split: Split,
  count: number,
  subject: CutSubject & { readonly dimension: number },
): readonly number[] {
  const { blocks = 1 } = split
  if (typeof blocks !== 'number') {
    const sum = blocks.reduce((total, block) => total + block, 0)
    if (sum === size) return blocks
    throw notDivisible(`its blocks have ${sum} positions together`, size, split, count, subject, { blocks })
  }
  if (size % blocks === 0) return Array.from({ length: blocks }, () => size / blocks)
  throw notDivisible(`it must divide into ${blocks} equal blocks`, size, split, count, subject, { blocks })
}

function notDivisible(
  rule: string,
  size: number,
  { axis }: Split,
  count: number,
  { tensor, rule: by, field, dimension }: CutSubject & { readonly dimension: number },
  more: Readonly<Record<string, unknown>>,
): PlacementError {
  const what = `Cannot cut dimension ${dimension} of tensor ${quoteName(tensor)}, of size ${size}, along ${axis} of ${count}`
  const details = { dimension, size, axis, count, ...more }
  return new PlacementError('DIMENSION_NOT_DIVISIBLE', `${what}: ${rule} (${by})`, { tensor, field, details })
}
