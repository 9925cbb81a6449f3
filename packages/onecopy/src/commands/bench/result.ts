import type { Environment } from './environment.ts'
import type { Figure } from './figures.ts'

/** The groups of figures, as `--only` names them. */
export const GROUPS = ['cold-start', 'attach', 'sharing'] as const
export type Group = (typeof GROUPS)[number]

/** Everything that `onecopy bench` found out; what `--json` prints. Times are milliseconds. */
export interface BenchResult {
  readonly command: 'onecopy bench'
  readonly date: string
  readonly label: string
  readonly byteLength: number // of the tensors that were read
  readonly tensorCount: number
  readonly shardCount: number
  /** The checkpoint's own, where `--limit` left some out. */
  readonly wholeByteLength: number
  readonly wholeTensorCount: number
  readonly limitBytes: number | null
  readonly trials: number
  readonly spreadLimit: number
  readonly environment: Environment
  /** Groups that were not asked for are null. */
  readonly coldStart: ColdStartResult | null
  readonly attach: AttachResult | null
  readonly sharing: SharingResult | null
}

/** Ways from a start without a page in RAM until every tensor was touched. */
export interface ColdStartResult {
  readonly firstTensor: { readonly name: string; readonly byteLength: number }
  readonly ways: readonly ColdStartRow[]
}

/** One way, or a rival that reads the files without onecopy. */
export interface ColdStartRow {
  readonly way: string
  readonly what: string
  readonly rival: boolean
  /** Why there are no figures; null where there are. */
  readonly notMeasured: string | null
  /** Why figures are missing, or come from fewer trials than asked for. */
  readonly note: string | null
  /** From starting the process until every byte of the first tensor was in reach and its pages were touched. */
  readonly firstTensorMs: Figure | null
  /** From starting the process until a byte of every page of every tensor was touched, in order. */
  readonly touchedMs: Figure | null
  /** From starting the process until all tensors were in RAM. */
  readonly residentMs: Figure | null
  readonly stages: {
    /** Starting Node.js, until the program's first line. */
    readonly startMs: Figure | null
    /** Loading onecopy's modules. */
    readonly loadMs: Figure | null
    /** Null where opening and reading are one call; then it is in `ioMs`. */
    readonly openMs: Figure | null
    /** Null where pages are only read as they are touched; then it is in `faultsMs`. */
    readonly ioMs: Figure | null
    /** Touching the pages. */
    readonly faultsMs: Figure | null
  }
  /** Faults that waited for the disk. */
  readonly majorFaults: Figure | null
  /** The most that was left in RAM before a trial, as mincore counts. */
  readonly residentBeforeBytes: number | null
  /** The least that was in RAM after a trial; null where they are in the process's own memory. */
  readonly residentAfterBytes: number | null
  /** The plain rival's time until all was touched ÷ this one's; null without both. */
  readonly timesFaster: number | null
}

/** What a further thread or process takes to have all weights. */
export interface AttachResult {
  readonly thread: AttachRow
  readonly process: AttachRow
}

export interface AttachRow {
  readonly weightsMs: Figure
  /** The same start without onecopy, one for each of the others, in turns. */
  readonly bareMs: Figure
  /** Quantile minus quantile. */
  readonly beyondMs: { readonly p50: number; readonly p99: number }
  /** Of a process: loading onecopy's modules, and the call of `attach` alone. */
  readonly stages: { readonly loadMs: Figure; readonly attachMs: Figure } | null
}

/** What readers take that have touched everything. */
export interface SharingResult {
  readonly rows: readonly SharingRow[]
}

export interface SharingRow {
  readonly kind: 'threads' | 'processes'
  readonly readers: number
  readonly weights: 'shared' | 'a copy each'
  readonly notMeasured: string | null
  /** Processes that are counted: the readers', and the coordinator's where there is one. */
  readonly processCount: number | null
  /** The sum of all processes' Pss. */
  readonly pssBytes: Figure | null
  /** Of that, what they had before they touched or read a tensor. */
  readonly idleBytes: Figure | null
  /** What the weights took: the difference. */
  readonly weightBytes: Figure | null
  /** `weightBytes` ÷ the bytes of the tensors. */
  readonly factor: number | null
}
