import type { SelectedTensor } from '@onecopy/safetensors'

/** A part of a host's memory that is near to some of its processors. */
export interface NumaNode {
  /** @default no limit */
  readonly memoryBytes?: number
}

/** A machine. */
export interface Host {
  readonly name: string
  /** What its workers may hold together, each byte counted once. @default no limit */
  readonly memoryBytes?: number
  /** @default one, without a limit of its own */
  readonly numaNodes?: readonly NumaNode[]
  /** What it has already, for the objective `sticky` and for counting what moves; a name may come several times. */
  readonly holds?: readonly SelectedTensor[]
}

/** A thread or process that computes. */
export interface Worker {
  readonly name: string
  readonly host: string
  /** @default no limit */
  readonly memoryBytes?: number
  /** Its share of the work where bytes are balanced, relative to the others. @default 1 */
  readonly weight?: number
  /** Position in its host's `numaNodes`. @default the host's workers are dealt over its nodes in equal runs */
  readonly numaNode?: number
}

/** What there is to place tensors on: plain data, fit for JSON. */
export interface Topology {
  readonly hosts: readonly Host[]
  /** As many as the mesh has places. They take them in this order, replicas outermost, then pp, ep and tp. */
  readonly workers: readonly Worker[]
}
