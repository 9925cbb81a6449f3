import type { SelectedRange } from '@onecopy/safetensors'
import { getOrMake } from './get-or-make.ts'
import type { Part, PlacedTensor } from './plan-data.ts'
import { joinRanges } from './region.ts'

/** What one worker has of one tensor. */
export interface HeldTensor {
  readonly tensor: PlacedTensor
  readonly ranges: readonly SelectedRange[]
}

interface Kind {
  readonly tensors: number[] // positions in the plan, rising
  readonly parts: readonly Part[]
}

/**
 * Finds the tensors of a worker. It is made in one pass and holds each array of parts once, however many tensors share it: a
 * thousand replicas of ninety thousand tensors are no more than the tensors.
 */
export class WorkerIndex {
  readonly #tensors: readonly PlacedTensor[]
  /** For each worker the kinds of tensors that it holds, and which of their parts. */
  readonly #kinds: Map<Kind, number[]>[]

  constructor(tensors: readonly PlacedTensor[], workerCount: number) {
    this.#tensors = tensors
    this.#kinds = Array.from({ length: workerCount }, () => new Map())
    const byParts = new Map<readonly Part[], Kind>()
    for (const [place, { parts }] of tensors.entries()) {
      getOrMake(byParts, parts, () => ({ tensors: [], parts })).tensors.push(place)
    }
    for (const kind of byParts.values()) {
      for (const [place, { workers }] of kind.parts.entries()) {
        for (const worker of workers) getOrMake(this.#kinds[worker]!, kind, () => []).push(place)
      }
    }
  }

  /** How many tensors a worker has something of. */
  count(worker: number): number {
    let count = 0
    for (const kind of this.#kinds[worker]!.keys()) count += kind.tensors.length
    return count
  }

  /** What a worker has, in plan order. */
  held(worker: number): readonly HeldTensor[] {
    const found: { place: number; parts: readonly (readonly SelectedRange[])[] }[] = []
    for (const [kind, places] of this.#kinds[worker]!) {
      const parts = places.map((place) => kind.parts[place]!.ranges)
      for (const place of kind.tensors) found.push({ place, parts })
    }
    found.sort((a, b) => a.place - b.place)
    return found.map(({ place, parts }) => {
      const tensor = this.#tensors[place]!
      return { tensor, ranges: joinRanges(tensor.shape, parts)! } // a checked plan's parts join
    })
  }
}
