import { type Dtype, quoteName, SafetensorsError, type SelectedRange } from '@onecopy/safetensors'
import type { Assignment } from './assign-rules.ts'
import { cutCompanion } from './companion.ts'
import { PlacementError } from './errors.ts'
import { canonicalRanges } from './extents.ts'
import { getOrMake } from './get-or-make.ts'
import type { MeshSize } from './mesh.ts'
import { partSize } from './part-size.ts'
import type { Split, SplitAxis } from './policy.ts'
import { kindOf, type Shaped } from './shaped.ts'
import { type Cut, type CutPiece, type CutSubject, cutShape } from './split.ts'

/** A part of a tensor and the positions that hold it, in whatever stage that will be. */
export interface Piece {
  readonly ranges: readonly SelectedRange[]
  readonly ep: readonly number[] | null // null: every position
  readonly tp: readonly number[] | null
  readonly byteLength: number
}

/** How a tensor is cut: the same object for tensors of the same kind that the same rule cuts. */
export interface Cutting {
  readonly cuts: readonly Cut[]
  /** Position on the axis ep of the whole tensor, null unless it is an expert's. */
  readonly expertAt: number | null
  /** Disjoint, and together the whole tensor. */
  readonly pieces: readonly Piece[]
}

/**
 * Cuts every tensor as its rule says, and companions as their tensors.
 *
 * @param expertAt for each tensor of an expert its position on the axis ep, else null
 * @throws PlacementError as `cutShape` and `cutCompanion` do
 */
export function cutTensors(
  tensors: readonly Shaped[],
  assignments: readonly Assignment[],
  expertAt: readonly (number | null)[],
  size: MeshSize,
): readonly Cutting[] {
  const cuttings: Cutting[] = []
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]))
  const known = new Map<unknown, Map<string, Cutting>>()

  const remembered = (by: unknown, key: string, make: () => Cutting): Cutting => {
    const byKey = getOrMake(known, by, () => new Map<string, Cutting>())
    return getOrMake(byKey, key, make)
  }
  const cuttingOf = (place: number): Cutting => {
    cuttings[place] ??= cut(tensors[place]!, assignments[place]!, expertAt[place]!)
    return cuttings[place]
  }
  const cut = (tensor: Shaped, assignment: Assignment, at: number | null): Cutting => {
    if (assignment.rule !== null) {
      const { text, field, rule } = assignment.rule
      const packed = packedOutputs(tensor, byName)
      // Of units the last part of the name tells which are inputs.
      const units = [rule.split ?? []].flat().some(({ unit }) => unit !== undefined)
      const suffix = units ? tensor.name.slice(tensor.name.lastIndexOf('.')) : ''
      return remembered(assignment.rule, `${kindOf(tensor)} ${at} ${packed} ${suffix}`, () => {
        const splits = [rule.split ?? []]
          .flat()
          .map((split) => (split.unit ? { ...split, unit: split.unit / packed } : split))
        const subject = { tensor: tensor.name, rule: text, field }
        refuseColumnOfBytes(tensor, splits, size, subject)
        const cuts = cutShape(tensor.shape, splits, size, subject)
        const pieces = piecesOf(tensor, cuts, at)
        if (rule.once === undefined || size.tp === 1) return { cuts, expertAt: at, pieces }
        return { cuts, expertAt: at, pieces: pieces.map((piece) => ({ ...piece, tp: [0] })) }
      })
    }
    const owner = tensors[assignment.owner]!
    const ownerCutting = cuttingOf(assignment.owner)
    const { block, along } = assignment.companion
    // A tensor's companions of one kind are alike, but one cutting may serve owners of several dtypes.
    return remembered(ownerCutting, `${kindOf(tensor)} ${block} ${along} ${kindOf(owner)}`, () => {
      const cuts = cutCompanion(tensor, owner, ownerCutting.cuts, assignment.companion)
      return { cuts, expertAt: ownerCutting.expertAt, pieces: piecesOf(tensor, cuts, ownerCutting.expertAt) }
    })
  }
  return tensors.map((_, place) => cuttingOf(place))
}

/**
 * Outputs in one integer of a quantised weight: AWQ packs them, which its scales show, as they are by output; GPTQ packs
 * inputs.
 */
function packedOutputs({ name, shape }: Shaped, byName: ReadonlyMap<string, Shaped>): number {
  if (!name.endsWith('.qweight')) return 1
  const scales = byName.get(name.replace(/qweight$/, 'scales'))
  const ratio = (scales?.shape.at(-1) ?? 0) / (shape.at(-1) ?? 0)
  return Number.isInteger(ratio) && ratio > 1 ? ratio : 1
}

/** Whether a tensor is what bitsandbytes makes of a matrix in 4 bit: one column of bytes, output by output. */
export function isColumnOfBytes({ name, dtype, shape }: Shaped): boolean {
  return name.endsWith('.weight') && dtype === 'U8' && shape.length === 2 && shape[0]! > 1 && shape[1] === 1
}

/** Neither inputs nor units of outputs can be told apart in a column of bytes, whose matrix is described in other data. */
function refuseColumnOfBytes(tensor: Shaped, splits: readonly Split[], size: MeshSize, by: CutSubject): void {
  if (!isColumnOfBytes(tensor)) return
  for (const { dimension, axis, unit } of splits) {
    if (size[axis] === 1 || (unit === undefined && (dimension === 0 || dimension === -2))) continue
    const what = `Cannot cut dimension ${dimension} of tensor ${quoteName(tensor.name)}, of size ${tensor.shape.at(dimension)}, along ${axis} of ${size[axis]}`
    const rule =
      'bitsandbytes has made the matrix one column of bytes, in which neither inputs nor heads can be told apart'
    const details = { dimension, size: tensor.shape.at(dimension), axis, count: size[axis] }
    const { tensor: name, field } = by
    throw new PlacementError('DIMENSION_NOT_DIVISIBLE', `${what}: ${rule} (${by.rule})`, {
      tensor: name,
      field,
      details,
    })
  }
}

/** One piece for every choice of a piece of each cut, the last cut's changing fastest. */
function piecesOf({ name, dtype, shape }: Shaped, cuts: readonly Cut[], expertAt: number | null): readonly Piece[] {
  let choices: readonly (readonly (Omit<Cut, 'pieces'> & CutPiece)[])[] = [[]]
  for (const { pieces, ...cut } of cuts) {
    choices = choices.flatMap((chosen) => pieces.map((piece) => [...chosen, { ...cut, ...piece }]))
  }
  return choices.map((chosen): Piece => {
    const ranges = canonicalRanges(shape, new Map(chosen.map(({ dimension, extents }) => [dimension, extents])))
    const along = (axis: SplitAxis) => chosen.find((piece) => piece.axis === axis)?.positions ?? null
    const ep = expertAt === null ? along('ep') : [expertAt] // no rule places by expert and cuts along ep
    return { ranges, ep, tp: along('tp'), byteLength: pieceByteLength(name, dtype, shape, ranges, cuts) }
  })
}

/** F4 and F6 can be cut only between bytes. */
function pieceByteLength(
  tensor: string,
  dtype: Dtype,
  shape: readonly number[],
  ranges: readonly SelectedRange[],
  cuts: readonly Cut[],
): number {
  try {
    return partSize(dtype, shape, ranges).byteLength
  } catch (cause) {
    if (!(cause instanceof SafetensorsError && cause.code === 'SAFETENSORS_MISALIGNED_SLICE')) throw cause
    const { dimension, axis, pieces } = cuts.at(-1)!
    const size = shape[dimension]!
    const count = pieces.reduce((sum, { positions }) => sum + positions.length, 0)
    const what = `Cannot cut dimension ${dimension} of tensor ${quoteName(tensor)}, of size ${size}, along ${axis} of ${count}`
    const rule = `a piece of ${dtype} would begin or end inside a byte`
    const details = { dimension, size, axis, count, dtype, ranges }
    throw new PlacementError('DIMENSION_NOT_DIVISIBLE', `${what}: ${rule}`, { tensor, details, cause })
  }
}
