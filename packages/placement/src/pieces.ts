import { type Dtype, quoteName, SafetensorsError, type SelectedRange } from '@onecopy/safetensors'
import type { Assignment } from './assign-rules.ts'
import { cutCompanion, type Shaped } from './companion.ts'
import { PlacementError } from './errors.ts'
import { canonicalRanges } from './extents.ts'
import type { MeshSize } from './mesh.ts'
import { type Cut, cutShape } from './split.ts'
import { kindOf, partSize } from './totals.ts'

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
  const known = new Map<unknown, Map<string, Cutting>>()

  const remembered = (by: unknown, key: string, make: () => Cutting): Cutting => {
    let byKey = known.get(by)
    if (byKey === undefined) {
      byKey = new Map()
      known.set(by, byKey)
    }
    let cutting = byKey.get(key)
    if (cutting === undefined) {
      cutting = make()
      byKey.set(key, cutting)
    }
    return cutting
  }

  const cuttingOf = (place: number): Cutting => {
    const done = cuttings[place]
    if (done !== undefined) return done
    const tensor = tensors[place]!
    const assignment = assignments[place]!
    let cutting: Cutting
    if (assignment.rule === null) {
      const owner = tensors[assignment.owner]!
      const ownerCutting = cuttingOf(assignment.owner)
      const { block } = assignment.companion
      // A tensor's companions of one kind are alike, but one cutting may serve owners of several dtypes.
      cutting = remembered(ownerCutting, `${kindOf(tensor)} ${block} ${kindOf(owner)}`, () => {
        const cuts = cutCompanion(tensor, owner, ownerCutting.cuts, block)
        return { cuts, expertAt: ownerCutting.expertAt, pieces: piecesOf(tensor, cuts, ownerCutting.expertAt) }
      })
    } else {
      const { rule } = assignment
      const at = expertAt[place]!
      cutting = remembered(rule, `${kindOf(tensor)} ${at}`, () => {
        const subject = { tensor: tensor.name, rule: rule.text, field: rule.field }
        const cuts = cutShape(tensor.shape, [rule.rule.split ?? []].flat(), size, subject)
        return { cuts, expertAt: at, pieces: piecesOf(tensor, cuts, at) }
      })
    }
    cuttings[place] = cutting
    return cutting
  }
  for (const place of tensors.keys()) cuttingOf(place)
  return cuttings
}

/** Every choice of a piece for each cut. */
function piecesOf({ name, dtype, shape }: Shaped, cuts: readonly Cut[], expertAt: number | null): readonly Piece[] {
  const [first, second] = cuts
  const pieces: Piece[] = []
  for (const outer of first?.pieces ?? [null]) {
    for (const inner of second?.pieces ?? [null]) {
      const extents = new Map()
      const positions: Record<'tp' | 'ep', readonly number[] | null> = {
        tp: null,
        ep: expertAt === null ? null : [expertAt],
      }
      for (const [cut, piece] of [
        [first, outer],
        [second, inner],
      ] as const) {
        if (cut === undefined || piece === null) continue
        extents.set(cut.dimension, piece.extents)
        positions[cut.axis] = piece.positions
      }
      const ranges = canonicalRanges(shape, extents)
      pieces.push({ ranges, ...positions, byteLength: pieceByteLength(name, dtype, shape, ranges, cuts) })
    }
  }
  return pieces
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
