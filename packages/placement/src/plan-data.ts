import type { IndexedShard, IndexedTensor, SelectedRange } from '@onecopy/safetensors'
import type { Objective } from './policy.ts'

/** A part of a tensor, and who holds it. The parts of a tensor are disjoint, and together the whole of it. */
export interface Part {
  /** One for each dimension from the outermost on; dimensions without one are whole. */
  readonly ranges: readonly SelectedRange[]
  /** Positions in the plan's workers, rising, at least one. */
  readonly workers: readonly number[]
}

/** A tensor, where it is in the checkpoint, and where it goes. Its shard is a position in the plan's shards. */
export interface PlacedTensor extends IndexedTensor {
  /** Position in the plan's reasons. */
  readonly reason: number
  readonly parts: readonly Part[]
}

/** A tensor that is placed already, but not yet said why. */
export type UnexplainedTensor = Omit<PlacedTensor, 'reason'>

export interface PlannedHost {
  readonly name: string
  readonly memoryBytes: number | null // null: no limit
  readonly numaNodes: readonly { readonly memoryBytes: number | null }[] // at least one
}

/** A worker and its place in the mesh. */
export interface PlannedWorker {
  readonly name: string
  readonly host: string
  readonly numaNode: number
  readonly memoryBytes: number | null
  readonly replica: number
  readonly pp: number
  readonly ep: number
  readonly tp: number
}

/** What a host holds of a plan, each byte counted once, however many of its workers read it. */
export interface HostTotals {
  readonly uniqueBytes: number
  /** Of these, the bytes of parts that are not one run in their file, and so are gathered into an arena. */
  readonly arenaBytes: number
  readonly numaNodes: readonly number[] // unique bytes of each node's workers
}

/** What follows from the rest; written down for other programs, and checked when a plan is read. */
export interface PlanTotals {
  readonly byteLength: number // of all tensors
  readonly workers: readonly number[] // bytes of each worker
  readonly hosts: readonly HostTotals[]
}

/** A plan as plain data: what its JSON says. */
export interface PlanData {
  readonly format: 'onecopy-plan'
  readonly version: 1
  /** sha256 of the checkpoint's `layoutText`, in hex: the same for every copy of it. */
  readonly layout: string
  readonly mesh: { readonly pp: number; readonly tp: number; readonly ep: number; readonly replicas: number }
  readonly objective: Objective
  readonly hosts: readonly PlannedHost[]
  readonly workers: readonly PlannedWorker[]
  readonly shards: readonly IndexedShard[]
  /** Why tensors are where they are, a sentence each. */
  readonly reasons: readonly string[]
  /** In plan order: by stage and layer, then as they lie in the files. */
  readonly tensors: readonly PlacedTensor[]
  readonly totals: PlanTotals
}
