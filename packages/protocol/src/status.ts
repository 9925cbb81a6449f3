import {
  type Check,
  countOrNone,
  flag,
  list,
  MAX_LIST_LENGTH,
  MAX_SHARDS,
  name,
  nullable,
  object,
  oneOf,
  path,
  wholeNumber,
} from './schema.ts'

/** What memory a version is in: the page cache, or sealed memory. */
export type Backing = 'file' | 'sealed'

/** Where a version is in its life. `unloaded`: known, to be loaded when somebody asks for it. */
export type VersionState = 'staging' | 'ready' | 'releasing' | 'unloaded'

export interface VersionStatus {
  readonly version: number
  readonly state: VersionState
  /** Empty until it is known. */
  readonly fingerprint: string
  /** Bytes of all shards. */
  readonly byteLength: number
  /** Bytes that count against the budget. */
  readonly heldBytes: number
  /** Of these, the bytes of arenas: parts of tensors that were gathered for clients that selected them. */
  readonly arenaBytes: number
  /** Bytes that are in RAM, or null where that was not measured. */
  readonly residentBytes: number | null
  /** Number of shards. */
  readonly shards: number
  /** Number of tensors. */
  readonly tensors: number
  /** Number of leases. */
  readonly leases: number
  /** ISO 8601, UTC. */
  readonly since: string
  /** Whether the files on disk are no longer those that were mapped. */
  readonly changed: boolean
}

export interface CheckpointStatus {
  readonly name: string
  readonly source: string | readonly string[]
  readonly backing: Backing
  readonly pinned: boolean
  readonly versions: readonly VersionStatus[]
}

export interface LeaseStatus {
  readonly lease: number
  readonly checkpoint: string
  readonly version: number
}

export interface ClientStatus {
  /** The coordinator's number for the connection. */
  readonly id: number
  readonly pid: number
  readonly uid: number
  readonly gid: number
  /** What the client calls itself. */
  readonly name: string
  /** ISO 8601, UTC. */
  readonly since: string
  readonly leases: readonly LeaseStatus[]
}

/** A coordinator's whole state at one moment. */
export interface CoordinatorStatus {
  /** Random id of this coordinator's life. */
  readonly coordinator: string
  readonly pid: number
  /** Path of its socket. */
  readonly socket: string
  /** ISO 8601, UTC. */
  readonly since: string
  readonly protocol: number
  /** null: no budget. */
  readonly budgetBytes: number | null
  /** Bytes that count against the budget. */
  readonly heldBytes: number
  readonly checkpoints: readonly CheckpointStatus[]
  readonly clients: readonly ClientStatus[]
}

export const backing: Check<Backing> = oneOf('file', 'sealed')

/** A path, or the list of a checkpoint's files. */
export const source: Check<string | readonly string[]> = (value, at) =>
  Array.isArray(value) ? list(path, MAX_SHARDS)(value, at) : path(value, at)

const versionStatus = object<VersionStatus>({
  version: wholeNumber,
  state: oneOf('staging', 'ready', 'releasing', 'unloaded'),
  fingerprint: name,
  byteLength: wholeNumber,
  heldBytes: wholeNumber,
  arenaBytes: countOrNone,
  residentBytes: nullable(wholeNumber),
  shards: wholeNumber,
  tensors: wholeNumber,
  leases: wholeNumber,
  since: name,
  changed: flag,
})

const clientStatus = object<ClientStatus>({
  id: wholeNumber,
  pid: wholeNumber,
  uid: wholeNumber,
  gid: wholeNumber,
  name,
  since: name,
  leases: list(object<LeaseStatus>({ lease: wholeNumber, checkpoint: name, version: wholeNumber }), MAX_LIST_LENGTH),
})

export const coordinatorStatus: Check<CoordinatorStatus> = object<CoordinatorStatus>({
  coordinator: name,
  pid: wholeNumber,
  socket: path,
  since: name,
  protocol: wholeNumber,
  budgetBytes: nullable(wholeNumber),
  heldBytes: wholeNumber,
  checkpoints: list(
    object<CheckpointStatus>({
      name,
      source,
      backing,
      pinned: flag,
      versions: list(versionStatus, MAX_LIST_LENGTH),
    }),
    MAX_LIST_LENGTH,
  ),
  clients: list(clientStatus, MAX_LIST_LENGTH),
})
