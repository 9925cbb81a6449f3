import { spawn, spawnSync } from 'node:child_process'
import { openSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { ArenaHold } from '@onecopy/checkpoint'
import {
  adoptDescriptor,
  closeDescriptors,
  type Descriptor,
  type FileMapping,
  listenUnix,
  mappingCount,
  openRegularFile,
  sealBytes,
} from '@onecopy/sharedarraybuffer-utils'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { NO_ARENAS } from '../src/gather-selection.ts'
import { takeArenasBack, takeBack } from '../src/hand-back.ts'
import { Ledger } from '../src/ledger.ts'
import { Registry } from '../src/registry.ts'
import type { Lease, Version } from '../src/version.ts'
import {
  collectUntil,
  columns,
  modelBytes,
  refusal,
  saveMatrices,
  saveModel,
  sealedOffer,
  temporaryFolder,
  until,
} from './support.ts'

/** A coordinator's registry and ledger, without the coordinator. */
function begin(path: string): { registry: Registry; ledger: Ledger } {
  const registry = new Registry(null)
  const ledger = new Ledger(
    path,
    () => registry.versions(),
    60_000,
    (error) => expect.fail(error.message),
  )
  onTestFinished(() => {
    registry.close()
    ledger.close()
  })
  return { registry, ledger }
}

interface Left {
  readonly path: string
  readonly version: Version
  readonly lease: Lease
  /** What a client has: the directory, then the shards. */
  readonly descriptors: readonly Descriptor[]
}

/** A coordinator that gave a version to a client, and has written that down. */
async function leave(source: string, { registry, ledger }: ReturnType<typeof begin>): Promise<Omit<Left, 'path'>> {
  await registry.publish('a', source, { backing: 'sealed' })
  const lease = await registry.acquire('a', null)
  ledger.note(lease.version, NO_ARENAS)
  const { directory, checkpoint } = lease.version.memory!
  return { version: lease.version, lease, descriptors: [directory.descriptor, ...checkpoint.descriptors()] }
}

const handedBack = ({ checkpoint, fingerprint }: Version) => ({ checkpoint, fingerprint })

describe('takeBack()', () => {
  let source: string
  let path: string
  let version: Version
  let descriptors: readonly Descriptor[]
  let next: ReturnType<typeof begin>

  beforeEach(async () => {
    path = join(temporaryFolder(), 'ledger')
    source = await saveModel(join(temporaryFolder(), 'model'))
    ;({ version, descriptors } = await leave(source, begin(path)))
    next = begin(path)
  })

  /** Nothing of a refused offer may stay open. */
  async function refused(changed: Partial<ReturnType<typeof handedBack>>, given = descriptors): Promise<string> {
    const before = [readdirSync('/proc/self/fd').length, mappingCount()]
    const offer = { ...handedBack(version), ...changed }
    const error = await refusal(() => takeBack(next.registry, next.ledger, offer, given))
    expect(error).toMatchObject({ name: 'CoordinatorError', code: 'RESUME_REFUSED', checkpoint: offer.checkpoint })
    await collectUntil(() => readdirSync('/proc/self/fd').length <= before[0]! && mappingCount() <= before[1]!)
    expect([...next.registry.entries]).toEqual([])
    return error.message.replace(/^Memory of checkpoint ".*" is not taken back: /, '')
  }

  const UNKNOWN = 'no coordinator at this socket has sealed it for that version'

  it('gives the version that was handed over, under the label and number that it had', () => {
    const taken = takeBack(next.registry, next.ledger, handedBack(version), descriptors)
    expect(taken).toMatchObject({ number: 1, fingerprint: version.fingerprint, heldBytes: modelBytes(source) })
    expect(taken.memory!.checkpoint).toMatchObject({ backing: 'sealed', label: version.memory!.checkpoint.label })
    expect(taken.memory!.checkpoint.tensor('t1').data).toEqual(version.memory!.checkpoint.tensor('t1').data)
  })

  it('takes the same memory once, whoever hands it back', () => {
    const taken = [1, 2, 3].map(() => {
      const each = takeBack(next.registry, next.ledger, handedBack(version), descriptors)
      next.registry.lease(each)
      return each
    })
    expect(new Set(taken).size).toBe(1)
    expect(next.registry.budget.heldBytes).toBe(modelBytes(source))
  })

  it('refuses memory that was sealed elsewhere, although every byte of it is right', async () => {
    const forged = await sealedOffer(source)
    onTestFinished(forged.close)
    expect(forged.offer.fingerprint).toBe(version.fingerprint)
    expect(await refused({}, forged.descriptors)).toBe(UNKNOWN)
    for (const at of descriptors.keys()) {
      expect(await refused({}, descriptors.with(at, forged.descriptors[at]!))).toBe(UNKNOWN)
    }
  })

  it('refuses memory under another name or fingerprint, in another order, too few of it and too much', async () => {
    expect(await refused({ checkpoint: 'b' })).toBe(UNKNOWN)
    expect(await refused({ checkpoint: '../x' })).toBe(UNKNOWN)
    expect(await refused({ fingerprint: 'f'.repeat(64) })).toBe(UNKNOWN)
    const [directory, one, two] = descriptors as [Descriptor, Descriptor, Descriptor]
    for (const given of [
      [directory, two, one],
      [directory, one],
      [directory],
      [directory, one, two, two],
      [one, two],
    ]) {
      expect(await refused({}, given)).toBe(UNKNOWN)
    }
  })

  it('refuses what is not sealed memory: files, folders, devices, sockets, pipes', async () => {
    const folder = temporaryFolder()
    spawnSync('mkfifo', [join(folder, 'pipe')])
    const others = [
      openRegularFile(join(source, 'model-00001-of-00002.safetensors')),
      adoptDescriptor(openSync(folder, 'r')),
      adoptDescriptor(openSync('/dev/zero', 'r')),
      adoptDescriptor(openSync(join(folder, 'pipe'), 'r+')),
      listenUnix(join(folder, 's')),
    ]
    for (const descriptor of others) {
      for (const at of [0, 1]) {
        expect(await refused({}, descriptors.with(at, descriptor))).toBe('a descriptor is not sealed memory')
      }
    }
    closeDescriptors(others)
  })

  it('refuses what cannot be asked whether it is sealed: what was opened with O_PATH', async () => {
    const O_PATH = 0o10000000
    const handle = adoptDescriptor(openSync(join(source, 'model-00001-of-00002.safetensors'), O_PATH))
    expect(await refused({}, descriptors.with(1, handle))).toMatch(/^Cannot tell whether .* EBADF$/)
    closeDescriptors([handle])
  })

  it.skipIf(spawnSync('python3', ['-c', 'import fcntl']).status !== 0)(
    'refuses memory of a tebibyte that holds nothing, without reading it',
    async () => {
      const script = `import fcntl, os, sys
memory = os.memfd_create("huge", os.MFD_ALLOW_SEALING); os.ftruncate(memory, 1 << 40); fcntl.fcntl(memory, 1033, 15)
print(os.getpid(), memory, flush=True); sys.stdin.read()`
      const child = spawn('python3', ['-c', script])
      onTestFinished(() => void child.kill('SIGKILL'))
      let output = ''
      child.stdout.on('data', (text) => {
        output += text
      })
      await until(() => output.includes('\n'), 'the memory is there')
      const [pid, number] = output.trim().split(' ')
      using huge = adoptDescriptor(openSync(`/proc/${pid}/fd/${number}`, 'r'))
      for (const at of descriptors.keys()) expect(await refused({}, descriptors.with(at, huge))).toBe(UNKNOWN)
    },
  )
})

describe('takeArenasBack()', () => {
  let path: string
  let version: Version
  let hold: ArenaHold
  let arena: FileMapping

  beforeEach(async () => {
    path = join(temporaryFolder(), 'ledger')
    const source = await saveMatrices(join(temporaryFolder(), 'model'))
    const { registry, ledger } = begin(path)
    version = await registry.publish('a', source)
    registry.lease(version)
    hold = await version.memory!.checkpoint.holdArenas(columns(0, 16))
    arena = hold.arenas[0]!.memory as FileMapping
    ledger.note(version, hold)
  })

  /** The next coordinator, which has the same files. */
  async function follow() {
    const next = begin(path)
    const source = version.memory!.checkpoint.label
    return { ...next, version: await next.registry.publish('a', source) }
  }

  it('holds what is handed back, for whoever selects the same', async () => {
    const { ledger, version: again } = await follow()
    const taken = takeArenasBack(again, ledger, handedBack(version), [arena.descriptor])
    expect(again.arenaBytes).toBe(arena.byteLength)
    const reserve = () => expect.fail('it was gathered again')
    const same = await again.memory!.checkpoint.holdArenas(columns(0, 16), { reserve })
    expect((same.arenas[0]!.memory as FileMapping).id).toBe(arena.id)
    taken.release()
    expect(again.arenaBytes).toBe(arena.byteLength)
    same.release()
    expect(again.arenaBytes).toBe(0)
  })

  it('counts the same memory once, named twice and from several clients, until the last gives it back', async () => {
    const { ledger, version: again } = await follow()
    const offers = [1, 2, 3].map(() =>
      takeArenasBack(again, ledger, handedBack(version), [arena.descriptor, arena.descriptor]),
    )
    for (const held of offers) {
      expect(held.arenas).toHaveLength(1)
      expect(again.arenaBytes).toBe(arena.byteLength)
      held.release()
      held.release()
    }
    expect(again.arenaBytes).toBe(0)
  })

  it('takes nothing of a client that has no arenas, also for a version whose memory was given up', async () => {
    const { ledger, registry } = await follow()
    registry.close()
    expect(takeArenasBack(version, ledger, handedBack(version), []).arenas).toEqual([])
  })

  it('refuses arenas that were gathered elsewhere, of another version, and what is none, and keeps nothing', async () => {
    const { ledger, version: again } = await follow()
    // Right to the last byte, as one would be that shows other values under the same names.
    using forged = sealBytes(new Uint8Array(arena.buffer(0, arena.byteLength)), 'forged')
    using empty = sealBytes(new Uint8Array(0), 'empty')
    using file = openRegularFile(path)
    const before = mappingCount()
    const offer = handedBack(version)
    for (const [given, from, reason] of [
      [[arena.descriptor, forged.descriptor], offer, 'no coordinator at this socket has gathered it'],
      [[empty.descriptor], offer, 'no coordinator at this socket has gathered it'],
      [[again.memory!.directory.descriptor], offer, 'no coordinator at this socket has gathered it'],
      [[arena.descriptor], { ...offer, fingerprint: 'f' }, 'no coordinator at this socket has gathered it'],
      [[file], offer, 'a descriptor is not sealed memory'],
    ] as const) {
      const error = await refusal(() => takeArenasBack(again, ledger, from, given))
      expect(error).toMatchObject({ code: 'RESUME_REFUSED', message: expect.stringContaining(reason) })
      expect(again.arenaBytes).toBe(0)
    }
    expect(mappingCount()).toBeLessThanOrEqual(before)
  })
})
