import {
  type Check,
  countOr,
  flag,
  list,
  MAX_LIST_LENGTH,
  MAX_NAME_BYTES,
  MAX_PATH_BYTES,
  MAX_SHARDS,
  name,
  nullable,
  object,
  oneOf,
  path,
  textOrNone,
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
  /** Bytes of tensors that are in RAM, of large versions as samples tell; null where that was not asked for or cannot be told. */
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

/** The leases of one client on one version. */
export interface LeaseStatus {
  /** Number of the first of them. */
  readonly lease: number
  readonly checkpoint: string
  readonly version: number
  /** How many there are. */
  readonly count: number
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
  /** One for each version. */
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
  /** Such as `onecopy 0.1.0`; empty where it is not told. */
  readonly software: string
  /** Checkpoints that are being published or loaded now. */
  readonly loading: number
  /** null: no budget. */
  readonly budgetBytes: number | null
  /** What of the machine the budget follows; empty when it was set. */
  readonly budgetFrom: string
  /** Bytes that count against the budget. */
  readonly heldBytes: number
  /** Bytes of RAM that nobody has open any more in the coordinator's process, and that buffers over them still keep. */
  readonly lingeringBytes: number
  readonly checkpoints: readonly CheckpointStatus[]
  readonly clients: readonly ClientStatus[]
  /** Checkpoints and clients that this answer had no room for. */
  readonly omittedCheckpoints: number
  readonly omittedClients: number
}

/** Values and bytes of a status on its way to another process: what is made and read without holding anybody up. */
const MAX_STATUS_VALUES = 65_536
const MAX_STATUS_BYTES: number = 2 * 2 ** 20

/** A status with as many checkpoints and clients as an answer has room for; what is left out is counted. */
export function fitStatus(status: CoordinatorStatus): CoordinatorStatus {
  let values = 100
  let bytes = 16_384
  const fits = ([more, moreBytes]: readonly [values: number, bytes: number]): boolean => {
    if (values + more > MAX_STATUS_VALUES || bytes + moreBytes > MAX_STATUS_BYTES) return false
    values += more
    bytes += moreBytes
    return true
  }
  const checkpoints = status.checkpoints.filter((each) => fits(costOfCheckpoint(each)))
  const clients = status.clients.filter((each) => fits(costOfClient(each)))
  return {
    ...status,
    checkpoints,
    clients,
    omittedCheckpoints: status.omittedCheckpoints + status.checkpoints.length - checkpoints.length,
    omittedClients: status.omittedClients + status.clients.length - clients.length,
  }
}

/** Longest UTF-8 of a text, in bytes for each of its code units. */
const BYTES_A_UNIT = 3

function costOfCheckpoint({ source, versions }: CheckpointStatus): readonly [values: number, bytes: number] {
  const sources = typeof source === 'string' ? [source] : source
  const sourceBytes = sources.reduce((sum, each) => sum + BYTES_A_UNIT * each.length + 5, 0)
  return [16 + sources.length + 32 * versions.length, 512 + sourceBytes + 512 * versions.length]
}

function costOfClient({ leases }: ClientStatus): readonly [values: number, bytes: number] {
  return [24 + 10 * leases.length, 1024 + 300 * leases.length]
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
  arenaBytes: countOr(0),
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
  leases: list(
    object<LeaseStatus>({ lease: wholeNumber, checkpoint: name, version: wholeNumber, count: countOr(1) }),
    MAX_LIST_LENGTH,
  ),
})

export const coordinatorStatus: Check<CoordinatorStatus> = object<CoordinatorStatus>({
  coordinator: name,
  pid: wholeNumber,
  socket: path,
  since: name,
  protocol: wholeNumber,
  software: textOrNone(MAX_NAME_BYTES),
  loading: countOr(0),
  budgetBytes: nullable(wholeNumber),
  budgetFrom: textOrNone(MAX_PATH_BYTES),
  heldBytes: wholeNumber,
  lingeringBytes: countOr(0),
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
  omittedCheckpoints: countOr(0),
  omittedClients: countOr(0),
})
