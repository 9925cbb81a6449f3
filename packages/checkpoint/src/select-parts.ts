import {
  type Dtype,
  type Extent,
  extentsOf,
  quoteName,
  type ResolvedSlice,
  resolveSelection,
  type SelectedRange,
  type SelectedSlice,
  type Selection,
} from '@onecopy/safetensors'
import type { Directory } from './directory.ts'
import { CheckpointError } from './errors.ts'

const LAYOUT_FORM = /^[0-9a-f]{64}$/

/** Runs of one gathered part: 100 MB of places, and twenty times what a vocabulary cut along its columns has. */
const MAX_RUNS = 2 ** 22

/** A selected tensor, or a part of one, that is read where it lies: one run of bytes of its shard. */
export interface InPlacePart {
  readonly name: string
  readonly dtype: Dtype
  readonly shape: readonly number[]
  readonly shard: number
  readonly begin: number // first byte in the shard file
  readonly end: number // exclusive
}

/** A selected part that is many runs of bytes, or that cannot be shared where it lies: it is gathered into an arena. */
export interface GatheredPart {
  readonly name: string
  /** The same text for the same part of the same tensor: how an arena calls it. */
  readonly key: string
  readonly dtype: Dtype
  readonly slice: SelectedSlice
  readonly shard: number
  readonly begin: number // first byte of the whole tensor in the shard file
  readonly end: number // exclusive
}

/** What a selection takes of a checkpoint; parts in file order. */
export interface SelectedParts {
  readonly inPlace: readonly InPlacePart[]
  readonly gathered: readonly GatheredPart[]
  /** In the order of the selection. */
  readonly names: readonly string[]
}

/**
 * Works out which bytes a selection takes.
 * @param label how messages name the checkpoint
 * @param sharesParts whether a part of a tensor can be read in place, as in mapped memory
 * @throws SafetensorsError SAFETENSORS_INVALID_SELECTION, SAFETENSORS_INVALID_SLICE, SAFETENSORS_MISALIGNED_SLICE
 * @throws CheckpointError SELECTION_OTHER_CHECKPOINT, SELECTION_SCATTERED
 */
export function selectParts(
  directory: Directory,
  selection: Selection,
  label: string,
  sharesParts = true,
): SelectedParts {
  const meant = selection?.layout
  // One of a wrong form is refused with the rest of the form, behind this.
  if (typeof meant === 'string' && LAYOUT_FORM.test(meant) && meant !== directory.layout) {
    const message = `The selection is meant for a checkpoint with layout ${meant}; "${label}" has ${directory.layout}`
    throw new CheckpointError('SELECTION_OTHER_CHECKPOINT', message)
  }
  const parts = resolveSelection(selection, (name) => {
    const record = directory.find(name)
    return record < 0 ? undefined : { record, ...directory.entry(record) }
  })
  const inPlace: InPlacePart[] = []
  const gathered: GatheredPart[] = []
  for (const { name, ranges, slice, info } of parts.toSorted((a, b) => a.info.record - b.info.record)) {
    const { dtype, shape, shard, begin, end } = info
    const inOneBuffer = sharesParts || slice.byteLength === 0 || slice.byteLength === end - begin
    if (slice.contiguous && inOneBuffer) {
      const first = begin + slice.byteOffset
      inPlace.push({ name, dtype, shape: slice.shape, shard, begin: first, end: first + slice.byteLength })
    } else {
      requireFewRuns(name, slice)
      gathered.push({ name, key: keyOf(name, shape, ranges), dtype, slice, shard, begin, end })
    }
  }
  return { inPlace, gathered, names: parts.map(({ name }) => name) }
}

/** A few bytes of JSON can ask for every second element of a matrix, and so for more runs than there is memory to list. */
function requireFewRuns(tensor: string, { boxes, byteLength }: SelectedSlice): void {
  let runs = 0
  for (const { source, target } of boxes) runs += Math.max(runsOf(source), runsOf(target))
  if (runs <= MAX_RUNS) return
  const mean = (byteLength / runs).toPrecision(2)
  const message = `The selected part of tensor ${quoteName(tensor)} is ${runs} runs of ${mean} bytes on average; at most ${MAX_RUNS} can be gathered`
  throw new CheckpointError('SELECTION_SCATTERED', message, { tensor })
}

function runsOf({ loops }: ResolvedSlice): number {
  return loops.reduce((product, { count }) => product * count, 1)
}

/** Whole dimensions at the end are left out, so that there is one text for each part. */
function keyOf(name: string, shape: readonly number[], ranges: readonly SelectedRange[]): string {
  const extents = ranges.map(extentsOf)
  while (extents.length > 0 && isWhole(extents.at(-1)!, shape[extents.length - 1]!)) extents.pop()
  return JSON.stringify([name, extents])
}

function isWhole([first, ...others]: readonly Extent[], size: number): boolean {
  return others.length === 0 && first !== undefined && first[0] === 0 && first[1] === size
}
