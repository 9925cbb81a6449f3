import { randomUUID } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { chmodSync, chownSync, lstatSync, rmSync } from 'node:fs'
import { resolve } from 'node:path'
import { checkArgument, checkOptions, rules } from '@onecopy/checkpoint'
import {
  absoluteSource,
  type ClientStatus,
  CoordinatorError,
  type CoordinatorStatus,
  defaultSocketPath,
  MAX_WAIT_MS,
  PROTOCOL,
  SOCKET_RULE,
  SOFTWARE,
} from '@onecopy/protocol'
import {
  adoptDescriptor,
  connectUnix,
  type Descriptor,
  lingeringBytes,
  listenUnix,
  lockFile,
  SharedMemoryError,
  UnixListener,
} from '@onecopy/sharedarraybuffer-utils'
import { Access, type AccessOptions } from './access.ts'
import { Admission } from './admission.ts'
import { BUDGET, PUBLISH_OPTIONS, REASON, SOURCE } from './check-arguments.ts'
import { clientsThatFit } from './descriptor-limit.ts'
import { FileGuard, type GuardEvent, type WriterPolicy } from './file-guard.ts'
import { Ledger } from './ledger.ts'
import { memoryLimit } from './memory-limit.ts'
import { activatedSocket, boundPath, notifySystemd } from './notify-systemd.ts'
import { type PublishOptions, Registry } from './registry.ts'
import { ResidencyMeter } from './residency-meter.ts'
import { prepareSocketFolder } from './socket-folder.ts'
import { checkpointStatuses } from './status.ts'
import type { Version } from './version.ts'

/** How long clients of the coordinator before are waited for to hand their memory back, in milliseconds. */
const DEFAULT_HAND_BACK_MS = 3000

/** The largest user and group id; the one above it means "none" to the kernel. */
const MAX_ID = 2 ** 32 - 2

/** Connections that may wait to be accepted; more of them are told to try again. */
const BACKLOG = 1024

/** Options of `startCoordinator`. */
export interface CoordinatorOptions extends AccessOptions {
  /**
   * Path of the socket, at most 107 bytes. Its folder is made, or checked; who may use the socket is let through. A socket that
   * systemd opened is used instead, wherever it is. @default `$XDG_RUNTIME_DIR/onecopy/onecopy.sock`, else `onecopy-<uid>/onecopy.sock` in the system's temporary folder
   */
  readonly socket?: string
  /**
   * Bytes of RAM that may be held for good: sealed and locked memory; null is no limit. What does not fit is refused before anything
   * of it is read. @default what the machine and the control groups of this process allow, less a margin (5 %, at least 128 MiB
   * and at most 2 GiB), and no more than is free at the moment
   */
  readonly budgetBytes?: number | null
  /** Clients at a time. @default 1024, or what the limit of open files leaves room for */
  readonly maxClients?: number
  /**
   * When another coordinator at this socket ended while clients had leases on sealed memory: how long after the start `publish`
   * waits for them to hand that memory back before it reads from disk, in milliseconds. @default 3000
   */
  readonly handBackMs?: number
  /**
   * When somebody is about to write to a file that clients have mapped: `warn` emits an event and lets the writer go on;
   * `seal` first publishes a copy in sealed memory, while the kernel holds the writer up; `ignore` takes no leases. Works
   * where the kernel gives read leases, see FileLease. @default `warn`
   */
  readonly whenWritten?: WriterPolicy
}

/** Options of `Coordinator.status`. */
export interface StatusOptions {
  /** Also measures what is in RAM, which takes a while; of large versions samples are taken. @default false */
  readonly residency?: boolean
}

type FullOptions = CoordinatorOptions & Required<Pick<CoordinatorOptions, 'maxClients'>>

const ids = rules.listOf(rules.wholeNumber(0, MAX_ID))

const OPTIONS = {
  socket: SOCKET_RULE,
  budgetBytes: BUDGET,
  allowedUids: ids,
  allowedGids: ids,
  socketGroup: rules.wholeNumber(0, MAX_ID),
  publisherUids: ids,
  publisherGids: ids,
  maxClients: rules.wholeNumber(1),
  handBackMs: rules.wholeNumber(0, MAX_WAIT_MS),
  whenWritten: rules.oneOf('ignore', 'warn', 'seal'),
}

/** What a coordinator tells. */
export type CoordinatorEvent =
  | {
      readonly type: 'published' | 'loaded' | 'evicted' | 'released' | 'recovered'
      readonly checkpoint: string
      readonly version: number
    }
  | { readonly type: 'retired'; readonly checkpoint: string }
  | { readonly type: 'attached' | 'detached'; readonly client: ClientStatus }
  /** Null: a connection that could not be accepted. */
  | { readonly type: 'refused'; readonly error: Error; readonly pid: number | null; readonly uid: number | null }
  /** The ledger of sealed memory cannot be read, or cannot be written: memory is not taken back from clients. */
  | { readonly type: 'unledgered'; readonly error: Error }
  | GuardEvent

/** The one owner of a host's checkpoints: it maps or seals them once and hands them to other processes. */
export class Coordinator extends EventEmitter<{ event: [CoordinatorEvent] }> implements AsyncDisposable {
  readonly socket: string
  readonly id: string = randomUUID()
  readonly #since = new Date()
  readonly #meter = new ResidencyMeter()
  readonly #registry: Registry
  readonly #admission: Admission
  readonly #guard: FileGuard
  readonly #listener: UnixListener
  readonly #lock: Descriptor | null
  readonly #inode: string | null
  readonly #ledger: Ledger
  #closing: Promise<void> | null = null

  /** @internal Coordinators come from `startCoordinator`. */
  constructor(socket: string, listening: Listening, access: Access, options: FullOptions) {
    super()
    this.socket = socket
    this.#lock = listening.lock
    this.#inode = inodeOf(socket)
    const handBackMs = options.handBackMs ?? DEFAULT_HAND_BACK_MS
    this.#registry = new Registry(options.budgetBytes === undefined ? memoryLimit() : options.budgetBytes)
    this.#ledger = new Ledger(
      `${socket}.ledger`,
      () => this.#registry.versions(),
      handBackMs,
      (error) => {
        // Whoever starts a coordinator listens to its events once it has it.
        setImmediate(() => this.#tell({ type: 'unledgered', error }))
      },
    )
    this.#guard = new FileGuard(this.#registry, options.whenWritten ?? 'warn', (event) => this.#tell(event))
    const host = {
      registry: this.#registry,
      ledger: this.#ledger,
      handBackMs,
      status: (statusOptions: StatusOptions) => this.status(statusOptions),
      publish: (name: string, source: string | readonly string[], publishOptions: PublishOptions) =>
        this.publish(name, source, publishOptions),
    }
    this.#admission = new Admission(this.id, host, access, options.maxClients, (event) => this.#tell(event))
    let failing = false
    this.#listener = new UnixListener(
      listening.descriptor,
      (stream) => {
        failing = false
        this.#admission.admit(stream)
      },
      (error) => {
        // It is tried again and again; one word about it is enough.
        if (!failing) this.#tell({ type: 'refused', error, pid: null, uid: null })
        failing = true
      },
    )
    this.#registry.on('event', (event) => {
      if (event.type === 'retired') {
        this.#admission.announceRetired(event.checkpoint)
        this.#tell(event)
        return
      }
      const { checkpoint, number } = event.version
      if (event.type === 'published') this.#admission.announce(event.version)
      this.#tell({ type: event.type, checkpoint, version: number })
    })
  }

  /**
   * Publishes a checkpoint under a name: a first version, or a new one beside the old, which stays for those who hold it.
   * Opens and validates everything before anything changes.
   * @returns the version's number
   * @throws CoordinatorError LOAD_FAILED (with the cause), BUDGET_EXCEEDED, NAME_INVALID, PUBLISH_CANCELLED,
   * COORDINATOR_CLOSING; the signal's reason
   */
  async publish(name: string, source: string | URL | readonly string[], options: PublishOptions = {}): Promise<number> {
    checkArgument('The name that publish() was given', name, rules.text)
    checkArgument('The source that publish() was given', source, SOURCE)
    checkOptions('publish()', options, PUBLISH_OPTIONS)
    this.#assertServing()
    const waitMs = (fingerprint: string): number =>
      options.backing === 'sealed' ? this.#ledger.waitMs({ checkpoint: name, fingerprint }) : 0
    const version: Version = await this.#registry.publish(name, absoluteSource(source), options, waitMs)
    return version.number
  }

  /**
   * Takes a name off. Clients that hold its versions keep them.
   * @throws CoordinatorError CHECKPOINT_UNKNOWN
   */
  retire(name: string): void {
    checkArgument('The name that retire() was given', name, rules.text)
    this.#assertServing()
    this.#registry.retire(name)
  }

  /** Everything that this coordinator holds, and for whom. */
  async status(options: StatusOptions = {}): Promise<CoordinatorStatus> {
    checkOptions('status()', options, { residency: rules.flag })
    const { residency = false } = options
    const checkpoints = await checkpointStatuses(this.#registry, residency ? this.#meter : null)
    return {
      coordinator: this.id,
      pid: process.pid,
      socket: this.socket,
      since: this.#since.toISOString(),
      protocol: PROTOCOL,
      software: SOFTWARE,
      loading: this.#registry.loading,
      budgetBytes: this.#registry.budget.byteLength,
      budgetFrom: this.#registry.budget.from,
      heldBytes: this.#registry.budget.heldBytes,
      lingeringBytes: lingeringBytes(),
      checkpoints,
      clients: this.#admission.clients(),
      omittedCheckpoints: 0,
      omittedClients: 0,
    }
  }

  /**
   * Tells systemd that this service is ready (`Type=notify`): once everything that it starts with is published. Without a
   * service manager nothing happens.
   */
  notifyReady(): void {
    notifySystemd('READY=1')
  }

  /** Whether the coordinator keeps the process alive. @default yes */
  setReferenced(referenced: boolean): void {
    this.#listener.setReferenced(referenced)
  }

  /**
   * Stops serving: no new clients, those that are here are told, the socket is removed. What clients have mapped stays
   * with them. Idempotent.
   */
  close(reason = 'the coordinator was stopped'): Promise<void> {
    checkArgument('The reason that close() was given', reason, REASON)
    this.#closing ??= this.#close(reason)
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(reason: string): Promise<void> {
    notifySystemd('STOPPING=1')
    this.#listener.close()
    this.#ledger.close()
    await this.#admission.close(reason)
    this.#guard.close()
    this.#registry.close()
    // A socket that systemd opened is systemd's to remove, and one that another coordinator has put there since is that one's.
    if (this.#lock === null) return
    if (inodeOf(this.socket) === this.#inode) rmSync(this.socket, { force: true })
    this.#lock.close()
  }

  /** What a listener throws is its own business, and ends neither a publish nor a connection halfway. */
  #tell(event: CoordinatorEvent): void {
    try {
      this.emit('event', event)
    } catch (error) {
      process.nextTick(() => {
        throw error
      })
    }
  }

  #assertServing(): void {
    if (this.#closing === null) return
    throw new CoordinatorError('COORDINATOR_CLOSING', 'The coordinator is stopping')
  }
}

/** A socket that listens, and how it came to be. */
interface Listening {
  readonly descriptor: Descriptor
  /** Holds the socket's place; null where systemd does. */
  readonly lock: Descriptor | null
}

/**
 * Starts a coordinator in this process.
 * @throws CoordinatorError COORDINATOR_RUNNING when another one serves the socket, SOCKET_UNSAFE (also when it could not be reached
 * by those who may use it); SharedMemoryError ADDON_UNAVAILABLE, SOCKET_FAILED; TypeError, RangeError for options
 */
export async function startCoordinator(options: CoordinatorOptions = {}): Promise<Coordinator> {
  checkOptions('startCoordinator()', options, OPTIONS)
  const access = new Access(options)
  const maxClients = clientsThatFit(options.maxClients)
  const activated = activatedSocket()
  // Wherever a socket is that systemd opened: clients are told of it, and the ledger lies beside it.
  const bound = activated === null ? null : boundPath(activated)
  const socket = bound ?? resolve(options.socket ?? defaultSocketPath())
  const listening = activated === null ? listen(socket, access) : { descriptor: adoptDescriptor(activated), lock: null }
  return new Coordinator(socket, listening, access, { ...options, maxClients })
}

/** The lock belongs to whoever serves; a socket that lies there without one was left by a coordinator that died. */
function listen(socket: string, access: Access): Listening {
  prepareSocketFolder(socket, access)
  const lock = lockFile(`${socket}.lock`)
  if (lock === null) throw running(socket)
  let descriptor: Descriptor | null = null
  try {
    removeStale(socket)
    descriptor = listenUnix(socket, 0o600, BACKLOG)
    const { others, onlyGroup } = access
    if (onlyGroup !== null) {
      chownSync(socket, -1, onlyGroup)
      chmodSync(socket, 0o660)
    } else if (others.uids.length + others.gids.length > 0) {
      // No mode is for several users; who they are is asked of each connection.
      chmodSync(socket, 0o666)
    }
    return { descriptor, lock }
  } catch (error) {
    if (descriptor !== null) {
      descriptor.close()
      rmSync(socket, { force: true })
    }
    lock.close()
    if (error instanceof SharedMemoryError || error instanceof CoordinatorError) throw error
    const reason = error instanceof Error ? error.message : String(error)
    throw new CoordinatorError('SOCKET_UNSAFE', `Cannot serve "${socket}": ${reason}`, { path: socket, cause: error })
  }
}

/** Removes the socket of a coordinator that died, and nothing else. */
function removeStale(socket: string): void {
  // As bigints: after an ordinary lstatSync of a socket, Node 20 may follow no symlinks in its next import().
  const found = lstatSync(socket, { bigint: true, throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) {
    throw new CoordinatorError('SOCKET_UNSAFE', `"${socket}" is there and is not a socket`, { path: socket })
  }
  // Somebody may serve it without our lock: systemd, or a coordinator whose lock was cleared away.
  if (isServed(socket)) throw running(socket)
  rmSync(socket, { force: true })
}

/** Which socket it is; null: none. No other has the number while somebody listens at it, also where it has no name any more. */
function inodeOf(socket: string): string | null {
  const found = lstatSync(socket, { bigint: true, throwIfNoEntry: false })
  return found === undefined ? null : `${found.dev}:${found.ino}`
}

function isServed(socket: string): boolean {
  try {
    connectUnix(socket).close()
    return true
  } catch (error) {
    return error instanceof SharedMemoryError && error.errnoName === 'EAGAIN'
  }
}

function running(socket: string): CoordinatorError {
  return new CoordinatorError('COORDINATOR_RUNNING', `Another coordinator serves "${socket}"`, { path: socket })
}
