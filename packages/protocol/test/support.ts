import { openSync, readdirSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  adoptDescriptor,
  closeDescriptors,
  connectUnix,
  type Descriptor,
  listenUnix,
  UnixListener,
  type UnixStream,
} from '@onecopy/sharedarraybuffer-utils'
import { afterEach } from 'vitest'
import { until } from '../../../test/until.ts'
import { encodeBody } from '../src/body.ts'
import { encodeFrame } from '../src/frame.ts'
import type { ClientMessage, CoordinatorMessage, CoordinatorStatus } from '../src/index.ts'

export { until } from '../../../test/until.ts'

/** Descriptors that this process has open. */
export function openDescriptorCount(): number {
  return readdirSync('/proc/self/fd').length
}

export function openDescriptors(count: number, path = '/dev/null'): Descriptor[] {
  return Array.from({ length: count }, () => adoptDescriptor(openSync(path, 'r')))
}

export const closeAll: typeof closeDescriptors = closeDescriptors

export function frameOf(message: unknown, descriptorCount = 0): Buffer {
  return encodeFrame(encodeBody(message), descriptorCount)
}

const cleanups: (() => unknown)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** Both ends of a connection over a socket in a folder of its own; closed after the test. */
export async function connectedStreams(): Promise<{ coordinatorEnd: UnixStream; clientEnd: UnixStream }> {
  const folder = await mkdtemp(join(tmpdir(), 'onecopy-protocol-'))
  cleanups.push(() => rm(folder, { recursive: true }))
  const path = join(folder, 'socket')
  let accepted: UnixStream | null = null
  const onError = (error: Error): void => {
    throw error
  }
  const listener = new UnixListener(
    listenUnix(path),
    (stream) => {
      accepted = stream
    },
    onError,
  )
  const clientEnd = connectUnix(path)
  await until(() => accepted !== null)
  listener.close()
  const coordinatorEnd = accepted as unknown as UnixStream
  cleanups.push(() => [coordinatorEnd, clientEnd].map((stream) => stream.close()))
  return { coordinatorEnd, clientEnd }
}

const shards = [
  { name: 'model-00001-of-00002.safetensors', byteLength: 5_000_000_000 },
  { name: 'model-00002-of-00002.safetensors', byteLength: 0 },
]

const arenas = [{ name: 'arena 1', byteLength: 1_000_000 }]

const version = { checkpoint: 'llama', version: 3, fingerprint: 'sha256:00ff' }

export const HELLO: ClientMessage & { type: 'hello' } = {
  type: 'hello',
  protocol: 1,
  oldestProtocol: 1,
  name: 'server 1',
  software: 'onecopy 0.1.0',
}

export const WELCOME: CoordinatorMessage & { type: 'welcome' } = {
  type: 'welcome',
  protocol: 1,
  coordinator: '6f1c2f6e',
  pid: 4711,
  software: 'onecopy 0.1.0',
  loading: 2,
}

/** Every message of a client, in every form. */
export const CLIENT_MESSAGES: readonly ClientMessage[] = [
  HELLO,
  { type: 'acquire', id: 1, checkpoint: 'llama', version: null, waitMs: 0, selection: null },
  { type: 'acquire', id: 2, checkpoint: 'llämä 🦙', version: 7, waitMs: 30_000, selection: '{"tensors":[]}' },
  { type: 'release', id: 3, lease: 12 },
  { type: 'resume', id: 4, ...version, label: '/models/llama', backing: 'sealed', shards, arenas: [] },
  { type: 'resume', id: 5, ...version, label: '/models/llama', backing: 'file', shards, arenas: [] },
  { type: 'resume', id: 9, ...version, label: '/models/llama', backing: 'sealed', shards, arenas },
  { type: 'resume', id: 10, ...version, label: '/models/llama', backing: 'file', shards, arenas },
  {
    type: 'publish',
    id: 6,
    checkpoint: 'llama',
    source: '/models/llama',
    backing: 'sealed',
    pinned: true,
    load: 'now',
    priority: 10,
  },
  {
    type: 'publish',
    id: 7,
    checkpoint: 'llama',
    source: ['/models/a.safetensors', '/models/b.safetensors'],
    backing: 'file',
    pinned: false,
    load: 'on-demand',
    priority: 0,
  },
  { type: 'retire', id: 8, checkpoint: 'llama' },
  { type: 'status', id: Number.MAX_SAFE_INTEGER, residency: true },
]

const since = '2026-01-02T03:04:05.678Z'

export const STATUS: CoordinatorStatus = {
  coordinator: '6f1c2f6e',
  pid: 4711,
  socket: '/run/user/1000/onecopy/onecopy.sock',
  since,
  protocol: 1,
  software: 'onecopy 0.1.0',
  loading: 1,
  budgetBytes: 2 ** 40,
  budgetFrom: 'the option budgetBytes',
  heldBytes: 5_000_000_000,
  lingeringBytes: 4096,
  checkpoints: [
    {
      name: 'llama',
      source: ['/models/a.safetensors'],
      backing: 'sealed',
      pinned: false,
      versions: (['staging', 'ready', 'releasing', 'unloaded'] as const).map((state, index) => ({
        version: index,
        state,
        fingerprint: '',
        byteLength: 5_000_000_000,
        heldBytes: 0,
        arenaBytes: index,
        residentBytes: index === 0 ? null : 1,
        shards: 2,
        tensors: 291,
        leases: 1,
        since,
        changed: index === 1,
      })),
    },
  ],
  clients: [
    {
      id: 1,
      pid: 99,
      uid: 1000,
      gid: 4_294_967_295,
      name: 'server 1',
      since,
      leases: [{ lease: 1, checkpoint: 'llama', version: 1, count: 3 }],
    },
  ],
  omittedCheckpoints: 0,
  omittedClients: 4,
}

const wireError = {
  name: 'CoordinatorError',
  code: 'LOAD_FAILED',
  message: 'Cannot load "llama"',
  fields: { checkpoint: 'llama', candidates: ['a', 'b'] },
  cause: { name: 'CheckpointError', code: null, message: '', fields: {}, cause: null },
}

/** Every message of a coordinator, in every form. */
export const COORDINATOR_MESSAGES: readonly CoordinatorMessage[] = [
  WELCOME,
  { type: 'refused', error: wireError, protocol: 1, oldestProtocol: 1 },
  { type: 'granted', id: 1, lease: 1, ...version, label: '/models/llama', backing: 'sealed', shards, arenas: [] },
  { type: 'granted', id: 9, lease: 9, ...version, label: '/models/llama', backing: 'sealed', shards, arenas },
  { type: 'granted', id: 10, lease: 10, ...version, label: '/models/llama', backing: 'file', shards, arenas },
  { type: 'granted', id: 2, lease: 2, ...version, label: '', backing: 'file', shards: [], arenas: [] },
  { type: 'resumed', id: 3, lease: 3, version: 1 },
  { type: 'done', id: 4, result: null },
  { type: 'done', id: 5, result: { version: 2 } },
  { type: 'status', id: 6, status: STATUS },
  { type: 'status', id: 7, status: { ...STATUS, budgetBytes: null, checkpoints: [], clients: [] } },
  { type: 'error', id: 8, error: wireError },
  { type: 'version', ...version },
  { type: 'retired', checkpoint: 'llama' },
  { type: 'closing', reason: 'stopped by SIGTERM' },
]
