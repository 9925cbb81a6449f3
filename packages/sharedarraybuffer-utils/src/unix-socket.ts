import { fromNative, type NativeSocket, requireAddon, systemFailure } from './addon.ts'
import { closeDescriptors, Descriptor } from './descriptor.ts'
import { SharedMemoryError } from './errors.ts'

/** Who is at the other end of a connection, as the kernel knows it (SO_PEERCRED). */
export interface PeerCredentials {
  readonly pid: number
  readonly uid: number
  readonly gid: number
  /** Supplementary groups; empty where the kernel does not tell (before Linux 4.13). */
  readonly groups: readonly number[]
}

/** What a connection calls; each at most once more after `close()` was called from inside it. */
export interface UnixStreamHandlers {
  /** Bytes as they come, and the descriptors that came with them, which are the receiver's to close. */
  readonly onData: (bytes: Buffer, descriptors: readonly Descriptor[]) => void
  /** The other end closed (no error), or the connection broke. Called once, unless `close()` came first. */
  readonly onEnd: (error: SharedMemoryError | null) => void
}

/** Bytes that one receive call takes. */
const RECEIVE_BYTES = 64 * 1024

/** One for all streams of this thread: what came is copied out of it before anything else happens. */
const scratch = Buffer.allocUnsafe(RECEIVE_BYTES)

/** Receive calls before other events get their turn, so that a flooding peer cannot starve the process. */
const RECEIVES_A_TURN = 16

/** The kernel's limit for one message, SCM_MAX_FD. */
const MAX_DESCRIPTORS_A_SEND = 253

/**
 * Descriptors that one peer may leave unread. The kernel counts those of all connections of a user against the limit of open files,
 * also when this end is closed: one who asks and never reads would stop everybody else's.
 */
const MAX_UNREAD_DESCRIPTORS: number = MAX_DESCRIPTORS_A_SEND

/** ETOOMANYREFS, for which neither libuv nor node has a name: too many of this user's descriptors are under way. */
const TOO_MANY_UNDER_WAY = 109

/** Until the next try after something that passes by itself, and that the kernel does not announce, in milliseconds. */
const RETRY_MS = 50

/** Likewise for a peer that is about to read, at first. */
const FIRST_RETRY_MS = 1

/** Longest path of a unix socket on Linux, in bytes: sun_path less its terminating zero. */
const MAX_PATH_BYTES = 107

interface Outgoing {
  readonly bytes: Uint8Array
  sent: number
  readonly descriptors: readonly Descriptor[]
  descriptorsSent: number
  readonly onSent: () => void
}

/**
 * A connected unix stream socket that carries descriptors (SCM_RIGHTS) beside bytes, which node's own sockets drop.
 * Received descriptors are close-on-exec.
 */
export class UnixStream {
  readonly peer: PeerCredentials
  readonly #socket: NativeSocket
  readonly #outgoing: Outgoing[] = []
  #handlers: UnixStreamHandlers | null = null
  #pendingBytes = 0
  /** Descriptors that went out since the peer was last seen to have read everything. */
  #unreadDescriptors = 0
  #retryMs: number = FIRST_RETRY_MS
  #retry: NodeJS.Timeout | null = null
  #closed = false

  /**
   * Takes over a connected socket.
   * @param withStranger nothing that the peer sends may hold this process up, not even when it is closed
   * @throws SharedMemoryError SOCKET_FAILED; the descriptor is closed then
   */
  constructor(descriptor: Descriptor, withStranger = false) {
    const onReady = (readable: boolean, writable: boolean): void => this.#onReady(readable, writable)
    this.#socket = watchSocket(descriptor, onReady, withStranger)
    try {
      this.peer = this.#socket.peer()
    } catch (error) {
      this.#socket.close()
      throw fromNative(error, 'SOCKET_FAILED', 'Cannot tell who is at the other end')
    }
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Bytes that were written and have not gone out yet; a peer that never reads makes them grow. */
  get pendingBytes(): number {
    return this.#pendingBytes
  }

  /** Begins to deliver what comes in. */
  start(handlers: UnixStreamHandlers): void {
    this.#handlers = handlers
    if (this.#closed) return
    this.#socket.watch(true, this.#outgoing.length > 0 && this.#retry === null)
  }

  /**
   * Sends bytes, and descriptors with them: as many at a time as the kernel takes, each batch with a byte of its own.
   * @param bytes at least one, and one for each 253 descriptors
   * @param onSent called when all has gone out, and when it never will: the descriptors may be closed then
   * @throws RangeError for fewer bytes
   */
  write(bytes: Uint8Array, descriptors: readonly Descriptor[] = [], onSent: () => void = () => {}): void {
    // The kernel takes no bytes as "full", and we would try for ever.
    if (bytes.byteLength < Math.max(1, Math.ceil(descriptors.length / MAX_DESCRIPTORS_A_SEND))) {
      throw new RangeError(`${descriptors.length} descriptors cannot go with ${bytes.byteLength} bytes`)
    }
    if (this.#closed) {
      onSent()
      return
    }
    this.#outgoing.push({ bytes, sent: 0, descriptors, descriptorsSent: 0, onSent })
    this.#pendingBytes += bytes.byteLength
    if (this.#outgoing.length === 1) this.#flush()
  }

  /** Whether this connection keeps the process alive. @default yes */
  setReferenced(referenced: boolean): void {
    this.#socket.setReferenced(referenced)
  }

  /** Closes at once; what has not gone out is dropped. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (this.#retry !== null) clearTimeout(this.#retry)
    this.#socket.close()
    for (const { onSent } of this.#outgoing.splice(0)) onSent()
    this.#pendingBytes = 0
  }

  #onReady(readable: boolean, writable: boolean): void {
    if (writable && !this.#closed && this.#retry === null) this.#flush()
    if (readable) this.#receive(RECEIVES_A_TURN)
  }

  #receive(turns: number): void {
    for (let turn = 0; !this.#closed && turn < turns; turn++) {
      let received: ReturnType<NativeSocket['receive']>
      try {
        received = this.#socket.receive(scratch)
      } catch (error) {
        this.#end(error, 'Cannot receive')
        return
      }
      if (received === null) return
      const descriptors = received.descriptors.map((file) => new Descriptor(file))
      if (received.byteLength === 0) {
        closeDescriptors(descriptors)
        this.#end(null)
        return
      }
      this.#handlers?.onData(Buffer.from(scratch.subarray(0, received.byteLength)), descriptors)
    }
  }

  #flush(): void {
    try {
      for (let next = this.#outgoing[0]; next !== undefined && !this.#closed; next = this.#outgoing[0]) {
        const left = next.descriptors.length - next.descriptorsSent
        const batch = next.descriptors.slice(next.descriptorsSent, next.descriptorsSent + MAX_DESCRIPTORS_A_SEND)
        // All but the last batch go with a single byte each, so that every batch has a byte to go with.
        const end = left > MAX_DESCRIPTORS_A_SEND ? next.sent + 1 : next.bytes.byteLength
        if (!this.#mayLeaveUnread(batch.length)) {
          this.#flushLater(this.#retryMs)
          return
        }
        const files = batch.map(({ handle }) => handle)
        const sent = this.#socket.send(next.bytes.subarray(next.sent, end), files)
        if (sent === 0) break
        next.sent += sent
        next.descriptorsSent += batch.length
        this.#unreadDescriptors += batch.length
        this.#pendingBytes -= sent
        if (next.sent < next.bytes.byteLength) continue
        this.#outgoing.shift()
        next.onSent()
      }
      if (!this.#closed) this.#socket.watch(this.#handlers !== null, this.#outgoing.length > 0)
    } catch (error) {
      if (systemFailure(error)?.errno === TOO_MANY_UNDER_WAY) {
        this.#flushLater(RETRY_MS)
        return
      }
      // Not from inside write(): its caller is not prepared for onEnd.
      setImmediate(() => this.#endSending(error))
    }
  }

  #mayLeaveUnread(count: number): boolean {
    if (count === 0 || this.#unreadDescriptors + count <= MAX_UNREAD_DESCRIPTORS) return true
    if (!this.#socket.isRead()) return false
    this.#unreadDescriptors = 0
    this.#retryMs = FIRST_RETRY_MS
    return true
  }

  #flushLater(afterMs: number): void {
    this.#socket.watch(this.#handlers !== null, false)
    this.#retryMs = Math.min(2 * this.#retryMs, RETRY_MS)
    this.#retry = setTimeout(() => {
      this.#retry = null
      this.#flush()
    }, afterMs)
    this.#retry.unref()
  }

  /** What the peer said before it went, such as why it refused us, is still to be read. */
  #endSending(error: unknown): void {
    if (this.#handlers !== null) this.#receive(RECEIVES_A_TURN)
    this.#end(error)
  }

  #end(error: unknown, what = 'Connection broke'): void {
    if (this.#closed) return
    this.close()
    const failure = error === null ? null : fromNative(error, 'SOCKET_FAILED', what)
    this.#handlers?.onEnd(failure as SharedMemoryError | null)
  }
}

/** A listening unix socket. */
export class UnixListener {
  readonly #socket: NativeSocket
  #closed = false

  /**
   * Takes over a listening socket.
   * @param onConnection gets each new connection
   * @param onError gets failures to accept, such as too many open files; the listener goes on
   */
  constructor(descriptor: Descriptor, onConnection: (stream: UnixStream) => void, onError: (error: Error) => void) {
    const accept = (): void => {
      for (let turn = 0; turn < RECEIVES_A_TURN; turn++) {
        try {
          const accepted = this.#socket.accept()
          if (accepted === null) return
          onConnection(new UnixStream(new Descriptor(accepted), true))
        } catch (error) {
          // The connection that was not accepted stays in the queue, and would call again at once.
          this.#pause()
          onError(fromNative(error, 'SOCKET_FAILED', 'Cannot accept a connection') as Error)
          return
        }
      }
    }
    this.#socket = watchSocket(descriptor, accept)
    this.#socket.watch(true, false)
  }

  setReferenced(referenced: boolean): void {
    this.#socket.setReferenced(referenced)
  }

  /** Stops listening; connections stay. Idempotent. */
  close(): void {
    this.#closed = true
    this.#socket.close()
  }

  #pause(): void {
    if (this.#closed) return
    this.#socket.watch(false, false)
    setTimeout(() => this.#closed || this.#socket.watch(true, false), RETRY_MS).unref()
  }
}

function watchSocket(
  descriptor: Descriptor,
  onReady: (readable: boolean, writable: boolean) => void,
  withStranger = false,
): NativeSocket {
  try {
    return new (requireAddon().UnixSocket)(descriptor.handle, onReady, withStranger)
  } catch (error) {
    throw fromNative(error, 'SOCKET_FAILED', 'Cannot watch a socket')
  } finally {
    descriptor.close()
  }
}

/**
 * Binds a unix socket and listens.
 * @param mode of the socket's file, less the umask
 * @throws SharedMemoryError SOCKET_FAILED with the system's error, such as EADDRINUSE or ENAMETOOLONG
 */
export function listenUnix(path: string, mode = 0o600, backlog = 128): Descriptor {
  const what = `Cannot listen on "${path}"`
  return new Descriptor(socketCall(path, what, () => requireAddon().listenUnix(path, mode, backlog)))
}

/**
 * Connects to a unix socket.
 * @throws SharedMemoryError SOCKET_FAILED with the system's error: ENOENT, ECONNREFUSED (nobody listens), EACCES, EAGAIN
 * (the listener's queue is full)
 */
export function connectUnix(path: string): UnixStream {
  const file = socketCall(path, `Cannot connect to "${path}"`, () => requireAddon().connectUnix(path))
  return new UnixStream(new Descriptor(file))
}

/** Sends one datagram, as systemd's notification protocol asks; a path that begins with `@` is an abstract address. */
export function sendDatagram(path: string, text: string): void {
  socketCall(path, `Cannot notify "${path}"`, () => requireAddon().sendDatagram(path, text))
}

/**
 * Takes the lock of a file, which is made if it is missing. It ends when the descriptor is closed or the process dies.
 * @returns null when somebody else holds the lock
 */
export function lockFile(path: string): Descriptor | null {
  try {
    const file = requireAddon().lockFile(path)
    return file && new Descriptor(file)
  } catch (error) {
    throw fromNative(error, 'SOCKET_FAILED', `Cannot lock "${path}"`)
  }
}

function socketCall<Result>(path: string, what: string, call: () => Result): Result {
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    const message = `${what}: the path has ${Buffer.byteLength(path)} bytes; a unix socket's has at most ${MAX_PATH_BYTES}`
    throw new SharedMemoryError('SOCKET_FAILED', message, { path, errnoName: 'ENAMETOOLONG' })
  }
  try {
    return call()
  } catch (error) {
    throw fromNative(error, 'SOCKET_FAILED', what)
  }
}
