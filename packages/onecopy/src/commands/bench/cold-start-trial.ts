import type { Selection } from '@onecopy/safetensors'
import type { PlainShard } from './subject.ts'

/** The ways of onecopy. */
export type Way = 'lazy' | 'prefetch' | 'populate' | 'lock' | 'sealed'

/** Ways without it: what a program does that has only Node.js. */
export type PlainWay = 'readFile' | 'read'

/** What a trial of one of onecopy's ways is told. */
export interface ColdStartTask {
  readonly way: Way
  readonly source: string | readonly string[]
  readonly selection: Selection | null
  readonly firstTensor: string
  /** Stops when the first tensor was touched. */
  readonly firstOnly: boolean
}

/** What a trial of a plain way is told. */
export interface PlainTask {
  readonly way: PlainWay
  readonly shards: readonly PlainShard[]
  readonly firstTensor: string
}

/** What a trial measured. Moments count from `begunNs`. */
export interface ColdStartTrial {
  /** The first line of the program on the clock of all processes, nanoseconds. */
  readonly begunNs: string
  readonly loadMs: number | null
  /** Null where opening and reading are one call. */
  readonly openMs: number | null
  /** Null where pages are only read as they are touched. */
  readonly ioMs: number | null
  readonly faultsMs: number
  readonly firstTensorMs: number
  readonly touchedMs: number | null
  readonly residentMs: number | null
  readonly majorFaults: number
  /** When everything was touched; null where they are in the process's own memory, or the kernel does not tell. */
  readonly residentBytes: number | null
}
