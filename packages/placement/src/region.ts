import { type Dtype, dtypeBits, type Extent, extentsOf, joinTouching, type SelectedRange } from '@onecopy/safetensors'
import { canonicalRanges, takesAll } from './extents.ts'

/** What is taken of each dimension, outermost first; dimensions without an entry are whole. */
type Ranges = readonly SelectedRange[]

/** The same with every choice written as a list; an empty list takes nothing. */
type Extents = readonly (readonly Extent[])[]

/** Two selections that have an element in common: positions in the list, and the element's indices. */
export interface RegionOverlap {
  readonly first: number
  readonly second: number
  readonly place: readonly number[]
}

/** How many elements a selection of a tensor has; exact wherever the tensor is below 2^53 bytes. */
export function countElements(shape: readonly number[], ranges: Ranges): number {
  return countFrom(shape, ranges.map(extentsOf), 0)
}

/** How many elements of a selection are in at least one of the others. */
export function commonElements(shape: readonly number[], ranges: Ranges, others: readonly Ranges[]): number {
  if (shape.includes(0)) return 0
  const extents = allExtents(ranges)
  const clipped = [...new Set(others)].map((other) => clip(shape, extents, allExtents(other)))
  const common = clipped.filter((one) => one.every((choices) => choices.length > 0))
  return unionFrom(shape, common, 0)
}

/** The bytes of that many elements, which fill whole bytes. No step leaves the integers that numbers hold exactly. */
export function elementsByteLength(dtype: Dtype, elements: number): number {
  const bits = dtypeBits(dtype)
  // Four elements of 6 bits are the least that fill whole bytes; halves and multiples of 2 are exact anyway.
  return bits === 6 ? (elements / 4) * 3 : elements * (bits / 8)
}

/** Whether a selection takes every element, by its ranges. */
export function isWhole(shape: readonly number[], ranges: Ranges): boolean {
  return allExtents(ranges).every((extents, dimension) => takesAll(extents, shape[dimension]!))
}

/** The first element, outermost dimension first, that two of the selections have in common. */
export function firstOverlap(shape: readonly number[], list: readonly Ranges[]): RegionOverlap | undefined {
  if (shape.includes(0) || list.length < 2) return undefined
  const all = list.map(allExtents)
  const search = (active: readonly number[], from: number, place: readonly number[]): RegionOverlap | undefined => {
    if (active.length < 2) return undefined
    const dimension = nextCut(shape, pick(all, active), from)
    const start = [...place, ...shape.slice(from, dimension).fill(0)]
    if (dimension === shape.length) return { first: active[0]!, second: active[1]!, place: start }
    for (const slab of slabs(shape[dimension]!, pick(all, active), dimension)) {
      const found = search(pick(active, slab.active), dimension + 1, [...start, slab.begin])
      if (found !== undefined) return found
    }
    return undefined
  }
  return search([...all.keys()], 0, [])
}

/** The indices of the first element, outermost dimension first, that none of the selections has. */
export function firstUncovered(shape: readonly number[], list: readonly Ranges[]): readonly number[] | undefined {
  if (shape.includes(0)) return undefined
  const search = (active: readonly Extents[], from: number, place: readonly number[]): number[] | undefined => {
    if (active.length === 0) return [...place, ...shape.slice(from).fill(0)]
    const dimension = nextCut(shape, active, from)
    if (dimension === shape.length) return undefined
    const start = [...place, ...shape.slice(from, dimension).fill(0)]
    for (const slab of slabs(shape[dimension]!, active, dimension)) {
      const found = search(pick(active, slab.active), dimension + 1, [...start, slab.begin])
      if (found !== undefined) return found
    }
    return undefined
  }
  return search([...new Set(list)].map(allExtents), 0, [])
}

/**
 * The one selection that disjoint selections make together, or undefined where no choice of extents for each dimension
 * gives just their elements.
 */
export function joinRanges(shape: readonly number[], list: readonly Ranges[]): readonly SelectedRange[] | undefined {
  if (list.length === 1) return list[0]
  const all = list.filter((ranges) => countElements(shape, ranges) > 0).map(allExtents)
  if (all.length === 0) return list[0]
  const joined = shape.map((size, dimension) => {
    const taken = [...slabs(size, all, dimension)].filter(({ active }) => active.length > 0)
    return joinTouching(taken.map(({ begin, end }): Extent => [begin, end]))
  })
  // The joined ranges hold every element of the list, so they are right exactly when they hold no more.
  const elements = all.reduce((sum, extents) => sum + countFrom(shape, extents, 0), 0)
  if (countFrom(shape, joined, 0) !== elements) return undefined
  const cut = [...joined.entries()].filter(([dimension, extents]) => !takesAll(extents, shape[dimension]!))
  return canonicalRanges(shape, new Map(cut))
}

function allExtents(ranges: Ranges): Extents {
  return ranges.map(extentsOf)
}

function pick<T>(list: readonly T[], places: readonly number[]): readonly T[] {
  return places.map((place) => list[place]!)
}

/** The elements of the dimensions from `from` on. */
function countFrom(shape: readonly number[], extents: Extents, from: number): number {
  let elements = 1
  for (let dimension = from; dimension < shape.length; dimension++) {
    let length = shape[dimension]!
    const choices = extents[dimension]
    if (choices !== undefined) length = choices.reduce((sum, [start, stop]) => sum + stop - start, 0)
    // Dimensions beside a zero may be too large to multiply.
    if (length === 0) return 0
    elements *= length
  }
  return elements
}

/** The elements of the union in the dimensions from `from` on. */
function unionFrom(shape: readonly number[], active: readonly Extents[], from: number): number {
  if (active.length === 0) return 0
  if (active.length === 1) return countFrom(shape, active[0]!, from)
  const dimension = nextCut(shape, active, from)
  let elements = dimension === shape.length ? 1 : 0
  if (dimension < shape.length) {
    for (const slab of slabs(shape[dimension]!, active, dimension)) {
      elements += (slab.end - slab.begin) * unionFrom(shape, pick(active, slab.active), dimension + 1)
    }
  }
  for (let whole = from; whole < dimension; whole++) elements *= shape[whole]!
  return elements
}

/**
 * The first dimension from `from` on that is not whole in every selection. Stepping over the others keeps recursion short:
 * a dimension that can be cut has at least two positions, and a tensor of less than 2^53 bytes has few of those.
 */
function nextCut(shape: readonly number[], active: readonly Extents[], from: number): number {
  for (let dimension = from; dimension < shape.length; dimension++) {
    for (const extents of active) {
      const choices = extents[dimension]
      if (choices !== undefined && !takesAll(choices, shape[dimension]!)) return dimension
    }
  }
  return shape.length
}

interface Slab {
  readonly begin: number
  readonly end: number
  readonly active: readonly number[] // which of the selections go through it, rising
}

/** Cuts a dimension wherever any selection begins or ends; slabs that no selection goes through are among them. */
function* slabs(size: number, list: readonly Extents[], dimension: number): Generator<Slab, void> {
  const changes: [place: number, selection: number, begins: boolean][] = []
  for (const [selection, extents] of list.entries()) {
    for (const [start, stop] of extents[dimension] ?? [[0, size] as const]) {
      if (start < stop) changes.push([start, selection, true], [stop, selection, false])
    }
  }
  // An end before a beginning at the same place, for extents that touch.
  changes.sort((a, b) => a[0] - b[0] || Number(a[2]) - Number(b[2]))
  const active = new Set<number>()
  let begin = 0
  for (const [place, selection, begins] of changes) {
    if (place > begin) {
      yield { begin, end: place, active: [...active].sort((a, b) => a - b) }
      begin = place
    }
    if (begins) active.add(selection)
    else active.delete(selection)
  }
  if (begin < size) yield { begin, end: size, active: [] }
}

/** What two selections have in common, as one: where both are products of extents, so is that. */
function clip(shape: readonly number[], a: Extents, b: Extents): Extents {
  return shape.map((size, dimension) => {
    const others = b[dimension] ?? [[0, size] as const]
    return (a[dimension] ?? [[0, size] as const]).flatMap((extent) => {
      return others.flatMap((other): Extent[] => {
        const start = Math.max(extent[0], other[0])
        const stop = Math.min(extent[1], other[1])
        return start < stop ? [[start, stop]] : []
      })
    })
  })
}
