import { basename, resolve } from 'node:path'
import { type Checkpoint, checkArgument, checkOptions, rules, type Selection } from '@onecopy/checkpoint/adopt'
import {
  absoluteSource,
  assertCheckpointName,
  type CoordinatorStatus,
  defaultSocketPath,
  MAX_NAME_BYTES,
  SOCKET_RULE,
} from '@onecopy/protocol'
import { CoordinatorClient, clientFor } from './coordinator-client.ts'
import { type Patience, withinLimit } from './patience.ts'

/** How long a question that a coordinator answers at once may take, in milliseconds. */
const ANSWER_MS = 30_000

/** How long a coordinator may take to say how it is, in milliseconds. */
const HEALTH_MS = 5000

/** Where the coordinator is, and how this process is called in its status. */
export interface ConnectOptions extends Patience {
  /** Path of the coordinator's socket. @default ONECOPY_SOCKET, else where a coordinator listens by default */
  readonly socket?: string
  /** @default the name of the program that runs, such as `server.js` */
  readonly name?: string
}

const CONNECT = { socket: SOCKET_RULE, name: rules.text, signal: rules.signal, timeoutMs: rules.wholeNumber(1) }

/** Options of `attach`. */
export interface AttachOptions extends ConnectOptions {
  /** The checkpoint's name. @default ONECOPY_CHECKPOINT, which `onecopy run` sets */
  readonly checkpoint?: string
  /** A version that is still held by somebody. @default the current one */
  readonly version?: number
  /** How long to wait for a coordinator or checkpoint that is not there yet, or not loaded, in milliseconds. @default 0 */
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
 *
 * Loading takes as long as it takes, unless `timeoutMs` says otherwise; it begins to count when `waitMs` is over.
 * @throws CoordinatorError COORDINATOR_UNREACHABLE, COORDINATOR_TIMEOUT, CHECKPOINT_UNKNOWN, VERSION_UNKNOWN,
 * VERSION_NOT_READY, LOAD_FAILED, BUDGET_EXCEEDED, SELECTION_REFUSED, CLIENT_REFUSED, NAME_INVALID; ProtocolError
 * PROTOCOL_VERSION_MISMATCH; the signal's reason
 */
export async function attach(options: AttachOptions = {}): Promise<Checkpoint> {
  checkOptions('attach()', options, {
    ...CONNECT,
    checkpoint: rules.text,
    version: rules.wholeNumber(0),
    waitMs: rules.wholeNumber(0),
    selection: rules.object,
  })
  const { version = null, waitMs = 0, checkpoint = process.env['ONECOPY_CHECKPOINT'], selection = null } = options
  if (checkpoint === undefined) {
    throw new TypeError('The option checkpoint must be a name; it can also come from ONECOPY_CHECKPOINT')
  }
  // A coordinator ends the connection of a client that says nonsense, and with it every lease of this process.
  assertCheckpointName(checkpoint)
  return clientFor(socketOf(options), nameOf(options)).attach({ checkpoint, version, waitMs, selection }, options)
}

const SOURCE = {
  must: 'a path, hf:org/name, a file: URL, or a list of paths',
  isKind: (value: unknown): boolean =>
    typeof value === 'string' || value instanceof URL || rules.listOf(rules.text).isKind(value),
}

/** What `publish` can ask of a coordinator; see `PublishOptions` of the coordinator. */
export interface RemotePublishOptions extends ConnectOptions {
  /** How long the coordinator may take, in milliseconds. @default as long as loading takes */
  readonly timeoutMs?: number
  readonly backing?: 'file' | 'sealed'
  readonly pinned?: boolean
  readonly load?: 'now' | 'on-demand'
  readonly priority?: number
}

/**
 * Publishes a checkpoint with a running coordinator; relative paths are this process's. Giving up, by the signal, by `timeoutMs` or
 * by the end of this process, gives up the load as well.
 * @returns the version's number
 * @throws CoordinatorError COORDINATOR_UNREACHABLE, COORDINATOR_TIMEOUT, NAME_INVALID, LOAD_FAILED, BUDGET_EXCEEDED,
 * PUBLISH_CANCELLED; the signal's reason
 */
export async function publishTo(
  checkpoint: string,
  source: string | URL | readonly string[],
  options: RemotePublishOptions = {},
): Promise<number> {
  checkArgument('The name that publishTo() was given', checkpoint, rules.text)
  checkArgument('The source that publishTo() was given', source, SOURCE)
  checkOptions('publishTo()', options, {
    ...CONNECT,
    backing: rules.oneOf('file', 'sealed'),
    pinned: rules.flag,
    load: rules.oneOf('now', 'on-demand'),
    priority: rules.wholeNumber(0),
  })
  assertCheckpointName(checkpoint)
  const { backing = 'file', pinned = false, load = 'now', priority = 0 } = options
  const absolute = absoluteSource(source)
  return once(options, `publish "${checkpoint}"`, (client, signal) =>
    client.publish(checkpoint, absolute, { backing, pinned, load, priority }, signal),
  )
}

/**
 * Takes a name off a running coordinator.
 * @param options `timeoutMs` is 30000 by default
 * @throws CoordinatorError COORDINATOR_UNREACHABLE, COORDINATOR_TIMEOUT, CHECKPOINT_UNKNOWN; the signal's reason
 */
export async function retireFrom(checkpoint: string, options: ConnectOptions = {}): Promise<void> {
  checkArgument('The name that retireFrom() was given', checkpoint, rules.text)
  checkOptions('retireFrom()', options, CONNECT)
  assertCheckpointName(checkpoint)
  const patience = { ...options, timeoutMs: options.timeoutMs ?? ANSWER_MS }
  await once(patience, `retire "${checkpoint}"`, (client, signal) => client.retire(checkpoint, signal))
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

/**
 * How a coordinator is: what it says in the handshake, and so as fast as it takes anybody in.
 * @param options `timeoutMs` is 5000 by default
 * @throws CoordinatorError COORDINATOR_UNREACHABLE, COORDINATOR_TIMEOUT, CLIENT_REFUSED; the signal's reason
 */
export async function coordinatorHealth(options: ConnectOptions = {}): Promise<CoordinatorHealth> {
  checkOptions('coordinatorHealth()', options, CONNECT)
  return once({ ...options, timeoutMs: options.timeoutMs ?? HEALTH_MS }, 'how it is', async (client, signal) => {
    const { loading, pid, software, protocol, coordinator } = await client.welcome(signal)
    return { state: loading === 0 ? 'ready' : 'loading', loading, pid, software, protocol, coordinator }
  })
}

/** Options of `coordinatorStatus`. */
export interface StatusOptions extends ConnectOptions {
  /** Also measures what is in RAM, which takes a while; of large versions samples are taken. @default false */
  readonly residency?: boolean
}

/**
 * The state of a running coordinator; checkpoints and clients beyond what one answer has room for are counted.
 * @param options `timeoutMs` is 30000 by default
 * @throws CoordinatorError COORDINATOR_UNREACHABLE, COORDINATOR_TIMEOUT; the signal's reason
 */
export async function coordinatorStatus(options: StatusOptions = {}): Promise<CoordinatorStatus> {
  checkOptions('coordinatorStatus()', options, { ...CONNECT, residency: rules.flag })
  const { residency = false } = options
  return once({ ...options, timeoutMs: options.timeoutMs ?? ANSWER_MS }, 'its status', (client, signal) =>
    client.status(residency, signal),
  )
}

async function once<Result>(
  options: ConnectOptions,
  what: string,
  ask: (client: CoordinatorClient, signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const client = new CoordinatorClient(socketOf(options), nameOf(options))
  try {
    return await withinLimit(what, options, (signal) => ask(client, signal))
  } finally {
    client.close()
  }
}

function socketOf({ socket }: ConnectOptions): string {
  return resolve(socket ?? defaultSocketPath())
}

/** As the protocol takes it: printable, and short. */
function nameOf({ name = basename(process.argv[1] ?? 'node') }: ConnectOptions): string {
  return name.slice(0, Math.floor(MAX_NAME_BYTES / 3)).replace(/[\p{Cc}\p{Cs}]/gu, '\u{FFFD}')
}
