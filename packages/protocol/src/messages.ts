import {
  type Check,
  countOr,
  flag,
  flagOrNot,
  list,
  listOrNone,
  MAX_SELECTION_BYTES,
  MAX_SHARDS,
  name,
  nullable,
  object,
  oneOf,
  path,
  printableText,
  text,
  union,
  wholeNumber,
} from './schema.ts'
import { type Backing, backing, type CoordinatorStatus, coordinatorStatus, source } from './status.ts'
import { type WireError, wireError } from './wire-error.ts'

/** One shard of a version, in the order of the directory's shard numbers. */
export interface WireShard {
  /** Its path below the checkpoint's folder. */
  readonly name: string
  /** Of the whole file, header included. */
  readonly byteLength: number
}

/** The first thing a client says. This message, `welcome` and `refused` keep these fields in all versions. */
export interface Hello {
  readonly type: 'hello'
  /** Newest version of the protocol that the client speaks. */
  readonly protocol: number
  readonly oldestProtocol: number
  /** What the client calls itself; shown to people, trusted by nobody. */
  readonly name: string
  /** Such as `onecopy 0.1.0`. */
  readonly software: string
}

/** Asks for a lease; answered by `granted` or `error`. */
export interface Acquire {
  readonly type: 'acquire'
  /** The client's number for this request; the answer carries it. */
  readonly id: number
  readonly checkpoint: string
  /** null: the latest that is ready. */
  readonly version: number | null
  /** How long to wait for a version that is not there yet; more than `MAX_WAIT_MS` counts as that. */
  readonly waitMs: number
  /** What the client is going to read, a Selection as JSON, so that the arenas it needs come along; null: everything. */
  readonly selection: string | null
}

/** Gives a lease back; answered by `done` or `error`. */
export interface Release {
  readonly type: 'release'
  readonly id: number
  readonly lease: number
}

/**
 * After a reconnect: what the client still holds, to get a lease on it; answered by `resumed` or `error`. Comes with the
 * descriptors [directory, ...shards, ...arenas] when the memory is sealed, and with those of the arenas otherwise.
 */
export interface Resume {
  readonly type: 'resume'
  readonly id: number
  readonly checkpoint: string
  readonly version: number
  readonly fingerprint: string
  readonly label: string
  readonly backing: Backing
  readonly shards: readonly WireShard[]
  readonly arenas: readonly WireShard[]
}

/** Makes a checkpoint known, or a new version of it; answered by `done` with the version, or `error`. */
export interface Publish {
  readonly type: 'publish'
  readonly id: number
  readonly checkpoint: string
  /** What `openCheckpoint` takes; paths are the coordinator's, so relative ones make no sense. */
  readonly source: string | readonly string[]
  readonly backing: Backing
  /** Never evicted. */
  readonly pinned: boolean
  readonly load: 'now' | 'on-demand'
  /** Among waiting loads; higher comes first. */
  readonly priority: number
}

/** Withdraws a checkpoint: no new leases; answered by `done` or `error`. */
export interface Retire {
  readonly type: 'retire'
  readonly id: number
  readonly checkpoint: string
}

/** Answered by `status` or `error`. */
export interface StatusRequest {
  readonly type: 'status'
  readonly id: number
  /** Whether to measure what is in RAM, which takes a while. @default false */
  readonly residency?: boolean
}

/** Everything a client says. */
export type ClientMessage = Hello | Acquire | Release | Resume | Publish | Retire | StatusRequest

/** The answer to a hello that may stay. */
export interface Welcome {
  readonly type: 'welcome'
  /** The version that both speak from now on. */
  readonly protocol: number
  /** Random id of this coordinator's life: another one means that it was restarted. */
  readonly coordinator: string
  readonly pid: number
  readonly software: string
  /** Checkpoints that are being published or loaded now: 0 says that the coordinator is ready. Absent reads as 0. */
  readonly loading: number
}

/** The answer to a hello that may not stay; the connection ends. */
export interface Refused {
  readonly type: 'refused'
  readonly error: WireError
  /** Newest version of the protocol that the coordinator speaks. */
  readonly protocol: number
  readonly oldestProtocol: number
}

/** A lease; comes with the descriptors [directory, ...shards, ...arenas]. */
export interface Granted {
  readonly type: 'granted'
  readonly id: number
  readonly lease: number
  readonly checkpoint: string
  readonly version: number
  /** Tells the same bytes by the same text, also across restarts. */
  readonly fingerprint: string
  /** What messages call the checkpoint: the folder or file it was opened from. */
  readonly label: string
  readonly backing: Backing
  readonly shards: readonly WireShard[]
  /** Sealed memory with gathered parts of tensors: all that the request's selection needs, and maybe more. */
  readonly arenas: readonly WireShard[]
}

/** A lease on what the client had offered. */
export interface Resumed {
  readonly type: 'resumed'
  readonly id: number
  readonly lease: number
  /** The coordinator's number for it, which may be another than the client's. */
  readonly version: number
}

export interface DoneResult {
  readonly version: number
}

/** A release, publish or retire is done. */
export interface Done {
  readonly type: 'done'
  readonly id: number
  /** Of a publish; null otherwise. */
  readonly result: DoneResult | null
}

export interface StatusReply {
  readonly type: 'status'
  readonly id: number
  readonly status: CoordinatorStatus
}

/** A request failed; the connection goes on. */
export interface Failed {
  readonly type: 'error'
  readonly id: number
  readonly error: WireError
}

/** Event: a version became the latest. */
export interface VersionEvent {
  readonly type: 'version'
  readonly checkpoint: string
  readonly version: number
  readonly fingerprint: string
}

/** Event: a checkpoint was withdrawn; leases stay. */
export interface RetiredEvent {
  readonly type: 'retired'
  readonly checkpoint: string
}

/** Event: the coordinator is about to end; leases stay usable, as mappings do. */
export interface ClosingEvent {
  readonly type: 'closing'
  readonly reason: string
}

/** Everything a coordinator says. */
export type CoordinatorMessage =
  | Welcome
  | Refused
  | Granted
  | Resumed
  | Done
  | StatusReply
  | Failed
  | VersionEvent
  | RetiredEvent
  | ClosingEvent

export type Message = ClientMessage | CoordinatorMessage

/** How many descriptors belong to a message; it is invalid with any other number. */
export function descriptorCountOf(message: Message): number {
  if (message.type === 'granted') return 1 + message.shards.length + message.arenas.length
  if (message.type !== 'resume') return 0
  return (message.backing === 'sealed' ? 1 + message.shards.length : 0) + message.arenas.length
}

/** Longest wait, in milliseconds, about 25 days: what timers can count. */
export const MAX_WAIT_MS = 2_147_483_647

const kind = oneOf
const wait: Check<number> = (value, at) => Math.min(wholeNumber(value, at), MAX_WAIT_MS)
const software = printableText(256)
const shard = object<WireShard>({ name: path, byteLength: wholeNumber })
const shards = list(shard, MAX_SHARDS)
const arenas = listOrNone(shard, MAX_SHARDS)

/** Checks what came from a client. @throws ProtocolError MESSAGE_INVALID */
export const clientMessage: Check<ClientMessage> = union<ClientMessage>({
  hello: object<Hello>({
    type: kind('hello'),
    protocol: wholeNumber,
    oldestProtocol: wholeNumber,
    name: printableText(256),
    software,
  }),
  acquire: object<Acquire>({
    type: kind('acquire'),
    id: wholeNumber,
    checkpoint: name,
    version: nullable(wholeNumber),
    waitMs: wait,
    selection: nullable(text(MAX_SELECTION_BYTES)),
  }),
  release: object<Release>({ type: kind('release'), id: wholeNumber, lease: wholeNumber }),
  resume: object<Resume>({
    type: kind('resume'),
    id: wholeNumber,
    checkpoint: name,
    version: wholeNumber,
    fingerprint: name,
    label: path,
    backing,
    shards,
    arenas,
  }),
  publish: object<Publish>({
    type: kind('publish'),
    id: wholeNumber,
    checkpoint: name,
    source,
    backing,
    pinned: flag,
    load: oneOf('now', 'on-demand'),
    priority: wholeNumber,
  }),
  retire: object<Retire>({ type: kind('retire'), id: wholeNumber, checkpoint: name }),
  status: object<StatusRequest>({ type: kind('status'), id: wholeNumber, residency: flagOrNot }),
})

/** Checks what came from a coordinator. @throws ProtocolError MESSAGE_INVALID */
export const coordinatorMessage: Check<CoordinatorMessage> = union<CoordinatorMessage>({
  welcome: object<Welcome>({
    type: kind('welcome'),
    protocol: wholeNumber,
    coordinator: name,
    pid: wholeNumber,
    software,
    loading: countOr(0),
  }),
  refused: object<Refused>({
    type: kind('refused'),
    error: wireError,
    protocol: wholeNumber,
    oldestProtocol: wholeNumber,
  }),
  granted: object<Granted>({
    type: kind('granted'),
    id: wholeNumber,
    lease: wholeNumber,
    checkpoint: name,
    version: wholeNumber,
    fingerprint: name,
    label: path,
    backing,
    shards,
    arenas,
  }),
  resumed: object<Resumed>({ type: kind('resumed'), id: wholeNumber, lease: wholeNumber, version: wholeNumber }),
  done: object<Done>({
    type: kind('done'),
    id: wholeNumber,
    result: nullable(object<DoneResult>({ version: wholeNumber })),
  }),
  status: object<StatusReply>({ type: kind('status'), id: wholeNumber, status: coordinatorStatus }),
  error: object<Failed>({ type: kind('error'), id: wholeNumber, error: wireError }),
  version: object<VersionEvent>({
    type: kind('version'),
    checkpoint: name,
    version: wholeNumber,
    fingerprint: name,
  }),
  retired: object<RetiredEvent>({ type: kind('retired'), checkpoint: name }),
  closing: object<ClosingEvent>({ type: kind('closing'), reason: name }),
})
