import { basename, resolve } from 'node:path'
import type { Checkpoint, Selection } from '@onecopy/checkpoint'
import { type CoordinatorStatus, defaultSocketPath, MAX_NAME_BYTES } from '@onecopy/protocol'
import { CoordinatorClient, clientFor } from './coordinator-client.ts'

/** Where the coordinator is, and how this process is called in its status. */
export interface ConnectOptions {
  /** Path of the coordinator's socket. @default ONECOPY_SOCKET, else where a coordinator listens by default */
  readonly socket?: string
  /** @default the name of the program that runs, such as `server.js` */
  readonly name?: string
}

/** Options of `attach`. */
export interface AttachOptions extends ConnectOptions {
  /** The checkpoint's name. @default ONECOPY_CHECKPOINT, which `onecopy run` sets */
  readonly checkpoint?: string
  /** A version that is still held by somebody. @default the current one */
  readonly version?: number
  /** How long to wait for a checkpoint that is not published or not loaded yet, in milliseconds. @default 0 */
  readonly waitMs?: number
  /**
   * Attaches only this part, see `Checkpoint.select`; parts that are many runs of bytes are gathered by the coordinator, once
   * for all who select them. @default everything
   */
  readonly selection?: Selection
}

/**
 * A checkpoint of a coordinator, read in place: the pages that every other client reads. The lease ends with `close()` or
 * with this process. Should the coordinator die, the checkpoint stays as it is, and the lease comes back with the next one.
 * @throws CoordinatorError COORDINATOR_UNREACHABLE, CHECKPOINT_UNKNOWN, VERSION_UNKNOWN, VERSION_NOT_READY, LOAD_FAILED,
 * BUDGET_EXCEEDED, SELECTION_REFUSED, CLIENT_REFUSED; ProtocolError PROTOCOL_VERSION_MISMATCH
 */
export async function attach(options: AttachOptions = {}): Promise<Checkpoint> {
  const { version = null, waitMs = 0, checkpoint = process.env['ONECOPY_CHECKPOINT'], selection = null } = options
  if (checkpoint === undefined) {
    throw new TypeError('The option checkpoint must be a name; it can also come from ONECOPY_CHECKPOINT')
  }
  // A coordinator ends the connection of a client that says nonsense, and with it every lease of this process.
  requireName(checkpoint)
  requireWholeNumber('waitMs', waitMs)
  if (version !== null) requireWholeNumber('version', version)
  return clientFor(socketOf(options), nameOf(options)).attach({ checkpoint, version, waitMs, selection })
}

/** What `publish` can ask of a coordinator; see `PublishOptions` of the coordinator. */
export interface RemotePublishOptions extends ConnectOptions {
  readonly backing?: 'file' | 'sealed'
  readonly pinned?: boolean
  readonly load?: 'now' | 'on-demand'
  readonly priority?: number
}

/**
 * Publishes a checkpoint with a running coordinator; relative paths are this process's.
 * @returns the version's number
 */
export async function publishTo(
  checkpoint: string,
  source: string | readonly string[],
  options: RemotePublishOptions = {},
): Promise<number> {
  const { backing = 'file', pinned = false, load = 'now', priority = 0 } = options
  requireName(checkpoint)
  requireWholeNumber('priority', priority)
  const absolute = typeof source === 'string' ? absoluteSource(source) : source.map((path) => resolve(path))
  return once(options, (client) => client.publish(checkpoint, absolute, { backing, pinned, load, priority }))
}

/** Takes a name off a running coordinator. */
export async function retireFrom(checkpoint: string, options: ConnectOptions = {}): Promise<void> {
  await once(options, (client) => client.retire(checkpoint))
}

/** Whether a coordinator is there and ready, without anything that takes long. */
export interface CoordinatorHealth {
  /** `loading` while it publishes or loads checkpoints; those that are loaded can be attached meanwhile. */
  readonly state: 'ready' | 'loading'
  /** Checkpoints that are being published or loaded. */
  readonly loading: number
  readonly pid: number
  /** Such as `onecopy 0.1.0`. */
  readonly software: string
  /** Version of the protocol that this process and the coordinator speak. */
  readonly protocol: number
  /** Random id of this coordinator's life: another one means that it was restarted. */
  readonly coordinator: string
}

/** How a coordinator is: what it says in the handshake, and so as fast as it takes anybody in. */
export async function coordinatorHealth(options: ConnectOptions = {}): Promise<CoordinatorHealth> {
  return once(options, async (client) => {
    const { loading, pid, software, protocol, coordinator } = await client.welcome()
    return { state: loading === 0 ? 'ready' : 'loading', loading, pid, software, protocol, coordinator }
  })
}

/** Options of `coordinatorStatus`. */
export interface StatusOptions extends ConnectOptions {
  /** Also measures what is in RAM, which takes a while; of large versions samples are taken. @default false */
  readonly residency?: boolean
}

/** The state of a running coordinator; checkpoints and clients beyond what one answer has room for are counted. */
export async function coordinatorStatus(options: StatusOptions = {}): Promise<CoordinatorStatus> {
  return once(options, (client) => client.status(options.residency ?? false))
}

async function once<Result>(
  options: ConnectOptions,
  ask: (client: CoordinatorClient) => Promise<Result>,
): Promise<Result> {
  const client = new CoordinatorClient(socketOf(options), nameOf(options))
  try {
    return await ask(client)
  } finally {
    await client.close()
  }
}

function absoluteSource(source: string): string {
  return source.startsWith('hf:') || source.startsWith('file:') ? source : resolve(source)
}

function socketOf({ socket }: ConnectOptions): string {
  return resolve(socket ?? defaultSocketPath())
}

/** As the protocol takes it: printable, and short. */
function nameOf({ name = basename(process.argv[1] ?? 'node') }: ConnectOptions): string {
  return name.slice(0, Math.floor(MAX_NAME_BYTES / 3)).replace(/[\p{Cc}\p{Cs}]/gu, '\u{FFFD}')
}

function requireName(checkpoint: string): void {
  const fits = typeof checkpoint === 'string' && Buffer.byteLength(checkpoint) <= MAX_NAME_BYTES
  if (!fits || /\p{Cs}/u.test(checkpoint)) {
    throw new TypeError(`A checkpoint's name must be a text of at most ${MAX_NAME_BYTES} bytes`)
  }
}

function requireWholeNumber(option: string, value: number): void {
  if (Number.isSafeInteger(value) && value >= 0) return
  throw new RangeError(`The option ${option} is ${value}; it must be a whole number, 0 or more`)
}
