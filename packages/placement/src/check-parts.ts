import { extentsOf, quoteName } from '@onecopy/safetensors'
import { PlacementError, type PlacementErrorCode, type PlacementErrorFields } from './errors.ts'
import { getOrMake } from './get-or-make.ts'
import { partSize } from './part-size.ts'
import type { Part, PlacedTensor, PlannedWorker } from './plan-data.ts'
import { quotedNames, rangesText } from './range-text.ts'
import { countElements, firstOverlap, firstUncovered, joinRanges } from './region.ts'

/** What the parts of a tensor are checked against. */
export interface PartsContext {
  readonly workers: readonly PlannedWorker[]
  readonly tensors: readonly PlacedTensor[]
}

/**
 * Checks that the parts of a tensor fit it, are disjoint and together the whole of it, and that what each worker holds can be
 * said as one selection.
 *
 * @throws PlacementError PLAN_INVALID, PLAN_OVERLAP, PLAN_INCOMPLETE, all naming the tensor
 */
export function checkParts(context: PartsContext, tensor: PlacedTensor): void {
  const { shape, parts } = tensor
  if (parts.length === 0) throw partsError(context, tensor, 'PLAN_INCOMPLETE', 'is on no worker')
  for (const place of parts.keys()) checkPart(context, tensor, place)
  const list = parts.map(({ ranges }) => ranges)
  const overlap = firstOverlap(shape, list)
  if (overlap !== undefined) {
    const { first, second, place: element } = overlap
    const texts = [first, second].map((place) => partText(context, shape, parts[place]!))
    const what = `has parts that overlap: ${texts.join(' and ')} both have element [${element.join(', ')}]`
    throw partsError(context, tensor, 'PLAN_OVERLAP', what, { details: { first, second, element } })
  }
  // Disjoint parts cover the tensor when they have as many elements; searching is for the message.
  const elements = list.reduce((sum, ranges) => sum + countElements(shape, ranges), 0)
  const element = elements === countElements(shape, []) ? undefined : firstUncovered(shape, list)
  if (element !== undefined) {
    const what = `has no part with element [${element.join(', ')}]`
    throw partsError(context, tensor, 'PLAN_INCOMPLETE', what, { details: { element } })
  }
  checkShares(context, tensor)
}

/** Workers exist, ranges lie inside the shape, and elements of less than a byte fill whole bytes. */
function checkPart(context: PartsContext, tensor: PlacedTensor, place: number): void {
  const { dtype, shape, parts } = tensor
  const { ranges, workers } = parts[place]!
  const last = workers.at(-1) ?? Number.POSITIVE_INFINITY
  if (last >= context.workers.length) {
    const what = workers.length === 0 ? 'no worker' : `worker ${last}, but the plan has ${context.workers.length}`
    throw partsError(context, tensor, 'PLAN_INVALID', `has a part on ${what}`, {}, `[${place}].workers`)
  }
  if (ranges.length > shape.length) {
    const what = `has a part with ${ranges.length} ranges, but ${shape.length} dimensions`
    throw partsError(context, tensor, 'PLAN_INVALID', what, {}, `[${place}].ranges`)
  }
  for (const [dimension, range] of ranges.entries()) {
    const size = shape[dimension]!
    for (const [start, stop] of extentsOf(range)) {
      if (stop <= size) continue
      const what = `has a part with range ${start} to ${stop} in dimension ${dimension}, which has size ${size}`
      throw partsError(context, tensor, 'PLAN_INVALID', what, {}, `[${place}].ranges[${dimension}]`)
    }
  }
  try {
    partSize(dtype, shape, ranges)
  } catch (cause) {
    const what = `has a part that cannot be taken: ${(cause as Error).message}`
    throw partsError(context, tensor, 'PLAN_INVALID', what, { cause }, `[${place}].ranges`)
  }
}

/** Where a worker holds several parts, they make one selection. */
function checkShares(context: PartsContext, tensor: PlacedTensor): void {
  const shares = new Map<number, number[]>()
  for (const [place, { workers }] of tensor.parts.entries()) {
    for (const worker of workers) getOrMake(shares, worker, () => []).push(place)
  }
  // Workers with the same parts are checked once.
  const seen = new Set<string>()
  for (const [worker, share] of shares) {
    if (share.length === 1 || seen.has(share.join())) continue
    seen.add(share.join())
    const list = share.map((place) => tensor.parts[place]!.ranges)
    if (joinRanges(tensor.shape, list) !== undefined) continue
    const { name } = context.workers[worker]!
    const texts = list.map((ranges) => rangesText(tensor.shape, ranges)).join(' and ')
    const what = `is on worker ${quoteName(name)} as ${texts}, which are not the product of ranges, one for each dimension`
    throw partsError(context, tensor, 'PLAN_INVALID', what, { worker: name })
  }
}

function partText({ workers }: PartsContext, shape: readonly number[], part: Part): string {
  return `${rangesText(shape, part.ranges)} of ${quotedNames(part.workers.map((worker) => workers[worker]!.name))}`
}

function partsError(
  { tensors }: PartsContext,
  tensor: PlacedTensor,
  code: PlacementErrorCode,
  what: string,
  fields: PlacementErrorFields = {},
  below = '',
): PlacementError {
  const field = `tensors[${tensors.indexOf(tensor)}].parts${below}`
  return new PlacementError(code, `Tensor ${quoteName(tensor.name)} ${what}`, { ...fields, tensor: tensor.name, field })
}
