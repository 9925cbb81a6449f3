import type { Dtype, SelectedRange } from '@onecopy/safetensors'
import { type Box, boxesOf, elementRuns, elementSpan } from './boxes.ts'
import { partSize } from './part-size.ts'
import type { PlacedTensor, PlannedWorker } from './plan-data.ts'
import { countElements, elementsByteLength, isWhole } from './region.ts'

/** A worker, and what it holds. */
export interface WorkerShare extends PlannedWorker {
  readonly byteLength: number
  /** Of these, the bytes that are not one run in their file, and so are gathered into an arena. */
  readonly arenaBytes: number
  readonly tensors: readonly WorkerTensor[] // in plan order
}

/** What a worker holds of one tensor. */
export class WorkerTensor {
  readonly name: string
  readonly dtype: Dtype
  /** The dimensions of the result. */
  readonly shape: readonly number[]
  /** Whether it is all of the tensor. */
  readonly whole: boolean
  /** The bytes of the result. */
  readonly byteLength: number
  /** Whether the result is one run of bytes in the file: a view of it needs no copy. */
  readonly contiguous: boolean
  /** The name of the shard file. */
  readonly shard: string
  /** The first byte in the shard file. From here to `end` lies the result, or where it is not contiguous, all its runs. */
  readonly begin: number
  readonly end: number // exclusive
  /** What is taken of each dimension of the tensor; dimensions without an entry are whole. */
  readonly ranges: readonly SelectedRange[]
  readonly #source: PlacedTensor
  #boxes: readonly Box[] | undefined

  /** @param ranges fit the tensor, as those of a checked plan do */
  constructor(source: PlacedTensor, ranges: readonly SelectedRange[], shard: string) {
    const { dtype, shape } = source
    const { byteLength, inPlace } = partSize(dtype, shape, ranges)
    const [first, last] = byteLength === 0 ? [0, 0] : elementSpan(shape, ranges)
    this.name = source.name
    this.dtype = dtype
    this.shape = shape.map((size, dimension) => countElements([size], ranges.slice(dimension, dimension + 1)))
    this.whole = isWhole(shape, ranges)
    this.byteLength = byteLength
    this.contiguous = inPlace
    this.shard = shard
    this.begin = source.begin + elementsByteLength(dtype, first)
    this.end = source.begin + elementsByteLength(dtype, last)
    this.ranges = ranges
    this.#source = source
  }

  /** What it is made of: a box for each choice of an extent in each dimension, in the order of the result; none when empty. */
  get boxes(): readonly Box[] {
    this.#boxes ??= this.byteLength === 0 ? [] : boxesOf(this.#source.shape, this.ranges)
    return this.#boxes
  }

  /** Every run of bytes in the shard file, half-open, rising, none touching the next. */
  *byteRanges(): Generator<[begin: number, end: number], void> {
    if (this.byteLength === 0) return
    if (this.contiguous) {
      yield [this.begin, this.end]
      return
    }
    const { dtype, shape, begin } = this.#source
    // Runs of neighbouring rows may touch, where a row's last extent goes to its end and its first begins at 0.
    let [from, to] = [-1, -1]
    for (const [start, stop] of elementRuns(shape, this.ranges)) {
      const runBegin = begin + elementsByteLength(dtype, start)
      if (runBegin > to) {
        if (to >= 0) yield [from, to]
        from = runBegin
      }
      to = begin + elementsByteLength(dtype, stop)
    }
    yield [from, to]
  }
}
